"""The command `dae-keras`: parses, calls, prints."""

import argparse
import contextlib
import signal
import sys

from dae_keras.faults import Terminated, one_line


def main(arguments=None):
    """Run the command.

    Exit code 0; 1 with one message for a wrong value or a fault of the system, such as a full disk; 2: wrong command line; 130: interrupted
    (Ctrl-C); 143: asked to end (SIGTERM).
    """
    options = _parser().parse_args(arguments)
    try:
        with _ends_when_asked():
            return options.call(options)
    except Terminated:
        print("dae-keras: asked to end (SIGTERM). What is finished stays; run again to go on.", file=sys.stderr)
        return 143
    except KeyboardInterrupt:
        print("\ndae-keras: interrupted. What is finished stays; run again to go on.", file=sys.stderr)
        return 130
    except (OSError, MemoryError) as error:
        print(f"dae-keras: {one_line(error)}", file=sys.stderr)
        return 1
    except Exception as error:
        # The package's own errors are written for people; any other is a bug and keeps its traceback.
        if not type(error).__module__.startswith("dae_keras."):
            raise
        print(f"dae-keras: {error}", file=sys.stderr)
        return 1


@contextlib.contextmanager
def _ends_when_asked():
    """Turn SIGTERM into an exception, so that the way out is that of Ctrl-C: locks and temporary files go, and the kernel ends."""

    def end(*_):
        raise Terminated

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _parser():
    parser = argparse.ArgumentParser(prog="dae-keras", description="Denoising autoencoders on MNIST: run the course, or use its models.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    run = commands.add_parser(
        "run",
        help="run the notebooks in order with papermill, into runs/PROFILE; skip what is done",
        description="Run the notebooks in order with papermill, into runs/PROFILE; skip what is done with the same parameters and code. "
        "Every parameter and its meaning: params/full/*.yaml.",
    )
    run.add_argument("--profile", default="full", help="a folder in params/: full (default), quick, reference or study")
    run.add_argument("--only", action="append", default=[], metavar="NOTEBOOK", help="such as 02_dae; may be repeated")
    run.add_argument(
        "-p", dest="parameters", action="append", nargs=2, default=[], metavar=("NAME", "VALUE"), help="a parameter; may be repeated"
    )
    run.set_defaults(call=_run)

    sweep = commands.add_parser(
        "sweep",
        help="do the many runs of a file in params/sweeps, into runs/sweeps/NAME; skip what is done",
        description="Do the many runs that params/sweeps/NAME.yaml describes, here or on other machines, into runs/sweeps/NAME; then write "
        "their table and a report. What is done with the same parameters is skipped. Needs Snakemake: make sweep-engine.",
    )
    sweep.add_argument("name", metavar="NAME", help="a file in params/sweeps, without its ending")
    sweep.add_argument("--cores", type=_count, metavar="N", help="so many runs at once (default: as there are cores, as memory allows)")
    where = sweep.add_mutually_exclusive_group()
    where.add_argument(
        "--on", default="", metavar="PROFILE", help="other machines: slurm, kubernetes, ssh, or a Snakemake profile of your own"
    )
    where.add_argument("--serial", action="store_true", help="one run after the other in this process, without Snakemake")
    where.add_argument("--job", help=argparse.SUPPRESS)  # what the engine's rule calls
    sweep.set_defaults(call=_sweep)

    study = commands.add_parser(
        "study",
        help="repeat the heavy runs behind the committed tables, which are sweeps; skip what is done",
        description="Repeat the heavy runs behind notebooks/tables/*.csv, the sweeps of the same names in params/sweeps, then write the "
        "tables: about four hours on two cores. What is done with the same parameters is skipped.",
    )
    study.add_argument("only", nargs="*", metavar="STUDY", help="seeds, exercises, noise, vae, samples or memory; none named: all")
    study.add_argument("--cores", type=_count, default=1, metavar="N", help="runs at once (default 1: more spoil the tables' minutes)")
    ways = study.add_mutually_exclusive_group()
    ways.add_argument("--serial", action="store_true", help="one run after the other in this process, without Snakemake")
    ways.add_argument("--refresh", action="store_true", help="train nothing: bring the tables in step with the runs that are there")
    study.set_defaults(call=_study)

    denoise = commands.add_parser(
        "denoise",
        help="denoise your own pictures",
        description="Denoise pictures of digits (PNG, JPEG, TIFF, WebP, BMP; any size). Each is prepared as MNIST was: light levelled, "
        "cropped to the ink, scaled and centred in 28 x 28, white on black; results are inverted back where the ground was light. A file "
        "of 28 x 28 pixels, or a sheet of such tiles, is left as it is but for that.",
    )
    denoise.add_argument("--model", required=True, help="a checkpoint, such as runs/full/checkpoints/DCAE.keras")
    denoise.add_argument("inputs", nargs="+", metavar="PICTURE")
    denoise.add_argument("--out", required=True, metavar="DIR", help="folder for NAME_input.png, as prepared, and NAME_denoised.png")
    denoise.add_argument("--noise", help="add noise first: gaussian, salt_and_pepper, masking or speckle; writes NAME_noisy.png too")
    denoise.add_argument("--noise-level", help="with --noise: standard deviation, or share of pixels (default 0.5)")
    denoise.add_argument("--seed", help="with --noise: its seed (default 0)")
    denoise.set_defaults(call=_denoise)

    export = commands.add_parser(
        "export",
        help="export a trained model as ONNX, TFLite or SavedModel",
        description="Export a trained model for programs without Keras, and check on a few images that it still computes the same.",
    )
    export.add_argument("--model", required=True, help="a checkpoint, such as runs/full/checkpoints/DCAE_skip.keras")
    export.add_argument("--format", required=True, help="onnx (needs pip install -e '.[export]'), tflite or saved_model")
    export.add_argument("--out", required=True, metavar="OUT", help="the .onnx or .tflite file, or the folder of the SavedModel")
    export.set_defaults(call=_export)
    return parser


def _count(text):
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def _run(options):
    # Step by step: a wrong value's message must not wait for papermill to load. TensorFlow is the kernels' affair.
    from dae_keras.settings import Settings

    # Text otherwise: Settings makes it the parameter's type.
    overrides = {name: {"true": True, "false": False}.get(value.lower(), value) for name, value in options.parameters}
    Settings.from_parameters(overrides)
    from dae_keras.parameters import checked_settings

    checked_settings(options.profile, options.only, overrides)
    from dae_keras import course

    print(course.summary(course.run(options.profile, options.only, overrides)))
    return 0


def _sweep(options):
    from dae_keras import sweep

    if options.job:
        sweep.do_job(sweep.course_folder() / "runs" / "sweeps" / options.name / "plan.json", options.job)
        return 0
    from dae_keras import _load_tensorflow_quietly

    _load_tensorflow_quietly()
    done, failed = sweep.run(options.name, options.cores, options.on, options.serial)
    print(f"{len(done.runs) - len(failed):,} of {len(done.runs):,} runs are done. Table and report: {done.folder}")
    for name, message in failed.items():
        print(f"dae-keras: {name} failed: {message} (its log: {done.folder / 'logs' / name}.txt)", file=sys.stderr)
    return 1 if failed else 0


def _study(options):
    from dae_keras import _load_tensorflow_quietly

    _load_tensorflow_quietly()
    from dae_keras import study

    print(f"Tables: {study.run(options.only, options.refresh, options.cores, options.serial)}")
    return 0


def _denoise(options):
    from dae_keras.settings import Settings, SettingsError

    given = {name: getattr(options, name) for name in ("noise", "noise_level", "seed") if getattr(options, name) is not None}
    if given and "noise" not in given:
        raise SettingsError("--noise-level and --seed say what noise to add: name its kind too, such as --noise gaussian")
    settings = Settings(**given) if given else None
    from dae_keras import _load_tensorflow_quietly

    _load_tensorflow_quietly()
    from dae_keras import denoise

    for line in denoise.denoise_files(options.model, options.inputs, options.out, settings):
        print(line)
    return 0


def _export(options):
    from dae_keras import _load_tensorflow_quietly

    _load_tensorflow_quietly()
    from dae_keras import export, training
    from dae_keras.settings import Settings

    # A GPU may round products to ten bits, and the comparison would see that.
    training.set_up(Settings(device="cpu", precision="float32"))
    print(export.export_model(options.model, options.format, options.out))
    return 0


if __name__ == "__main__":
    sys.exit(main())
