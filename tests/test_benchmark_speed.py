"""The benchmark compares like with like, and shows what it found; no time is measured here."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import (
    speed,
    speed_audio,
    speed_cuda,
    speed_data,
    speed_lab,
    speed_measure,
    speed_models,
)
from benchmarks.speed_measure import Context, Group, Turn, Worker, in_turns, ratio_of
from benchmarks.speed_table import (
    AT_LEAST,
    AT_MOST,
    COLUMNS,
    Limit,
    Machine,
    Row,
    Stat,
    csv_text,
    file_stem,
    markdown_table,
    not_measured,
    plot,
    write_results,
)
from benchmarks.speed_worker import Side
from helpers.machinery import process
from helpers.machinery.files import LabError

MACHINE = Machine("A processor", 2, "cpu", "2.0", "0.11", "3.11", "quick")
FAST = Row(
    "lstm",
    "LSTM step | packed",
    kit=Stat.of([0.2, 0.21, 0.25]),
    plain=Stat.of([30.0]),
    ratio=Stat.of([150.0, 140.0, 120.0]),
    limit=Limit(AT_LEAST, 100),
    agreement="outputs 1e-07",
    agrees=True,
)
ABSENT = not_measured("cuda", "CUDA epochs", "no CUDA\ndevice", Limit(AT_LEAST, 1))


# ---- both sides compute the same ---------------------------------------------------------------


@pytest.mark.parametrize("bidirectional", [False, True])
def test_the_packed_and_the_kits_lstm_agree(bidirectional: bool) -> None:
    kit = speed_models.KitLSTM("beat", bidirectional, n_clips=4)
    plain = speed_models.PlainLSTM("beat", bidirectional, n_clips=4)
    for side, how in ((kit, {"float32": True}), (plain, {})):
        side.prepare()
        side.run(**how)
    assert len(plain.results()) == 3 + 4 * (1 + bidirectional)  # outputs, head, LSTM
    text, agrees = speed_models.agreement(kit.results(), plain.results())
    assert agrees, text


def test_the_plain_and_the_kits_cnn_agree() -> None:
    kit = speed_models.KitCNN("crop", n_clips=2)
    plain = speed_models.PlainCNNStep("crop", n_clips=2)
    for side, how in ((kit, {"float32": True}), (plain, {})):
        side.prepare(float64=True)
        side.run(float64=True, **how)
    text, agrees = speed_models.agreement(kit.results(), plain.results())
    assert agrees, text


def test_every_run_begins_with_the_same_weights() -> None:
    side = speed_models.PlainLSTM("beat", False, n_clips=3)
    found = []
    for _ in range(2):
        side.prepare()
        side.run()
        found.append(side.results())
    assert all(np.array_equal(found[0][name], found[1][name]) for name in found[0])


def test_bfloat16_is_switched_off_for_one_run_only() -> None:
    before = process.has_native_bfloat16
    with speed_models.no_bfloat16():
        assert not process.has_native_bfloat16(speed_models.torch.device("cpu"))
    assert process.has_native_bfloat16 is before


def test_clips_of_a_batch_have_the_lengths_that_the_row_names() -> None:
    for kind, (shortest, longest) in speed_models.LENGTHS.items():
        x, y, lengths = speed_models.make_batch(kind, n_clips=3)
        assert (int(lengths.min()), int(lengths.max())) == (shortest, longest)
        assert x.shape == (3, longest, 128) and len(y) == 3
        assert not x[0, shortest:].any()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty beat-synchronous clips in the lab's layout and type."""
    return speed_data.make_folder(tmp_path_factory.mktemp("lab") / "a", 40, "beat", "float64")


def test_the_list_in_memory_and_the_kit_give_the_same_first_batch(folder: Path, home: Path) -> None:
    kit = speed_data.KitOpen(str(folder)).results()
    plain = speed_data.PlainOpen(str(folder)).results()
    assert kit["x"].shape == (32, 107, 128)
    text, agrees = speed_data._batches_agree(kit, plain)
    assert agrees, text


def test_a_differing_batch_is_seen() -> None:
    batch = {"x": np.zeros((1, 2, 3)), "y": np.array([1]), "lengths": np.array([2])}
    assert speed_data._batches_agree(batch, batch)[1]
    assert not speed_data._batches_agree(batch, batch | {"y": np.array([0])})[1]
    assert not speed_data._batches_agree(batch, batch | {"x": batch["x"] + 0.1})[1]
    assert not speed_data._batches_agree(batch, batch | {"x": np.zeros((1, 3, 3))})[1]


def test_part_of_a_folder_shares_the_files_and_counts_alone(folder: Path, tmp_path: Path) -> None:
    part = speed_data.part_of_folder(folder, tmp_path / "b", 10)
    files = sorted((part / "train").iterdir())
    assert len(files) == 10
    assert files[0].samefile(folder / "train" / files[0].name)
    assert len((part / "train_labels.txt").read_text().splitlines()) == 11


@pytest.mark.parametrize("model", ["lstm-beat", "cnn"])
def test_an_epoch_in_place_goes_through_the_loaders_batches(
    model: str, tmp_path: Path, home: Path
) -> None:
    kind = "beat" if model == "lstm-beat" else "full"
    folder = speed_data.make_folder(tmp_path / "set", 5, kind, "float16")
    loader = speed_data.KitEpoch(str(folder), model)
    bare = speed_data.KitEpoch(str(folder), model, in_place=True)
    loader.prepare()
    loader.run()
    expected, found = bare.results(), loader.results()
    assert sorted(expected) == ["0 lengths", "0 x", "0 y"] == sorted(found)
    assert all(np.array_equal(expected[name], found[name]) for name in expected)


@pytest.mark.parametrize("model", ["lstm", "cnn"])
def test_what_a_cuda_device_would_do_runs_anywhere(model: str, folder: Path, home: Path) -> None:
    for side in (speed_cuda.KitEpoch, speed_cuda.PlainEpoch):
        side(str(folder), model, "cpu").run()


def test_a_device_is_measured_against_its_own_rates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed_cuda, "COPY_BYTES", 1024)
    monkeypatch.setattr(speed_cuda, "MATRIX_SIZE", 16)
    speed_cuda.Rates("cpu").warm_up()
    rates = {"copy": 1e12, "float32": 5e13, "bfloat16": 5e14}
    # one frame: two directions, four gates of 128 units over 256 inputs, three times 2 operations
    assert speed_cuda.lstm_operations(1, 1) == 2 * 4 * 128 * 256 * 3 * 2
    assert "copy 1000 GB/s" in speed_cuda.rates_note(rates, "lstm", 1.0)
    assert "the epoch takes " in speed_cuda.rates_note(rates, "cnn", 1.0)


def test_librosa_and_the_kit_extract_the_same(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    t = np.arange(4 * speed_audio.SAMPLE_RATE) / speed_audio.SAMPLE_RATE
    clicks = rng.standard_normal(len(t)) * np.exp(-40 * (t % 0.5))
    audio = (0.2 * np.sin(2 * np.pi * 330 * t) + 0.2 * clicks).astype(np.float32)
    np.save(tmp_path / "000.npy", audio)
    kit = speed_audio.KitExtract(str(tmp_path)).results()
    plain = speed_audio.PlainExtract(str(tmp_path)).results()
    assert len(plain["beats"]) > 2
    text, agrees = speed_audio.agreement([speed_audio.compare(kit, plain)])
    assert agrees, text


def test_other_beats_or_features_are_no_agreement() -> None:
    names = ("mel", "chroma", "beat_mel", "beat_chroma")
    plain = {name: np.zeros((2, 5)) for name in names} | {"beats": np.array([1, 3])}
    for name, other in (("beats", np.array([1, 4])), ("mel", np.ones((2, 5))),
                        ("beat_chroma", np.full((2, 5), 0.01))):  # fmt: skip
        difference = speed_audio.compare(plain | {name: other}, plain)
        assert not speed_audio.agreement([difference])[1], name
    assert speed_audio.agreement([speed_audio.compare(plain, plain)])[1]


def test_a_folder_without_audio_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no audio")
    with pytest.raises(LabError, match="no wav, flac, ogg or mp3 file in it that can be read"):
        speed_audio.decode_clips(tmp_path, tmp_path / "decoded")


# ---- taking turns ------------------------------------------------------------------------------


class FakeWorker:
    """Notes when it runs."""

    def __init__(self, name: str, order: list[str], seconds: float) -> None:
        self.name, self.order, self.seconds = name, order, seconds

    def time(self, runs: int, **how: object) -> dict[str, list[float]]:
        self.order.append(self.name)
        return {"seconds": [self.seconds] * runs}


def test_sides_take_turns_and_every_other_round_goes_backwards() -> None:
    order: list[str] = []
    turns = [Turn("a", FakeWorker("a", order, 2.0)), Turn("b", FakeWorker("b", order, 1.0), 3)]
    times = in_turns(turns, seconds=0, least=3)
    assert order == ["a", "b", "b", "a", "a", "b"]
    assert times == {"a": [[2.0]] * 3, "b": [[1.0] * 3] * 3}
    ratio = ratio_of(times["a"], times["b"])
    assert (ratio.median, ratio.n) == (2.0, 9)


def test_a_worker_answers_and_its_end_is_one_clear_line(tmp_path: Path) -> None:
    environment = speed_measure.worker_environment(tmp_path, one_thread=True)
    with Worker("benchmarks.speed_worker:Side", {}, environment) as worker:
        worker.warm_up()
        answer = worker.time(2)
        assert len(answer["seconds"]) == 2 and answer["peak_mib"] > 1
        assert worker.facts() == {} and worker.results() == {}
    with pytest.raises(LabError, match="NoSuchSide ended with code 1: AttributeError.*") as error:
        with Worker("benchmarks.speed_worker:NoSuchSide", {}, environment):
            pass
    assert "\n" not in str(error.value)


def test_the_plain_side_inherits_no_setting_of_the_kit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
    monkeypatch.setenv("MUSICLAB_PROFILE", "full")
    environment = speed_measure.worker_environment(tmp_path, one_thread=False)
    assert "OMP_WAIT_POLICY" not in environment and "MUSICLAB_PROFILE" not in environment
    assert environment["MUSICLAB_HOME"] == str(tmp_path / "home")
    alone = speed_measure.worker_environment(tmp_path, one_thread=True)
    assert alone["OMP_NUM_THREADS"] == alone["NUMBA_NUM_THREADS"] == "1"


def test_too_little_disk_or_memory_is_said_with_the_number(tmp_path: Path) -> None:
    for check in (lambda: speed_measure.need_disk(tmp_path, 2**60),
                  lambda: speed_measure.need_memory(2**60)):  # fmt: skip
        with pytest.raises(LabError, match=r"needs 1073741825\.0 GiB of free") as error:
            check()
        assert "\n" not in str(error.value)


def test_a_scratch_folder_is_removed_and_so_are_abandoned_ones(tmp_path: Path) -> None:
    abandoned = tmp_path / "benchmark-999999999-x"
    abandoned.mkdir()
    with speed_measure.scratch_folder(tmp_path) as scratch:
        assert scratch.is_dir() and not abandoned.exists()
        with speed_measure.scratch_folder(tmp_path):
            assert scratch.is_dir()  # that of a process at work
    assert list(tmp_path.iterdir()) == []


# ---- rows --------------------------------------------------------------------------------------


def test_what_is_required_is_held_against_the_median() -> None:
    assert FAST.met == "yes" and FAST.required == "≥ 100 x"
    assert Row("a", "a", ratio=Stat.of([99.0]), limit=FAST.limit).met == "no"
    assert Row("a", "a", ratio=Stat.of([120.0]), limit=FAST.limit, agrees=False).met == "no"
    assert Row("a", "a", ratio=Stat.of([2.0])).met == ""
    opening = Row("a", "a", unit="s", kit=Stat.of([0.08]), limit=Limit(AT_MOST, 0.1, "kit"))
    assert (opening.met, opening.required) == ("yes", "≤ 100 ms")
    assert ABSENT.met == "not measured" and ABSENT.verdict == "not measured: no CUDA device"


def test_numbers_read_well() -> None:
    assert Stat.of([0.0123]).text("s") == "12.3 ms (1 run)"
    assert Stat.of([1.0, 2.0, 3.0]).text("s") == "2.00 s (1.50-2.50, 3 runs)"
    assert Stat.of([480.0]).text("s") == "8.00 min (1 run)"
    assert Stat.of([2048.0]).text("MiB") == "2.00 GiB (1 run)"
    assert Stat.of([1234.0]).text("x") == "1234 x (1 run)"
    assert Stat.of([0.0]).text("MiB") == "0 MiB (1 run)"


def test_the_table_holds_every_row_with_its_machine() -> None:
    lines = list(csv.DictReader(io.StringIO(csv_text([FAST, ABSENT], MACHINE))))
    assert [line["row"] for line in lines] == ["lstm", "cuda"]
    assert set(lines[0]) == set(COLUMNS)
    assert (lines[0]["ratio"], lines[0]["ratio_runs"], lines[0]["plain_runs"]) == ("140", "3", "1")
    assert (lines[0]["met"], lines[0]["agrees"]) == ("yes", "yes")
    assert (lines[1]["ratio"], lines[1]["met"]) == ("", "not measured: no CUDA device")
    assert {line["processor"] for line in lines} == {"A processor"}


def test_table_and_plot_are_written_and_read_back(tmp_path: Path) -> None:
    table, picture = write_results([FAST, ABSENT], MACHINE, tmp_path)
    assert picture.read_bytes().startswith(b"\x89PNG") and picture.stat().st_size < 100_000
    before = picture.read_bytes(), table.read_bytes()
    write_results([FAST, ABSENT], MACHINE, tmp_path)
    assert (picture.read_bytes(), table.read_bytes()) == before  # no date in it
    lines = markdown_table(table).splitlines()
    assert len(lines) == 4
    assert lines[2].startswith("| LSTM step / packed | 210 ms (205-230, 3 runs) | 30.0 s (1 run)")
    assert lines[3].endswith("| not measured: no CUDA device |")


def test_a_plot_of_no_row_at_all_is_empty_and_says_what_it_is() -> None:
    assert plot([ABSENT], MACHINE).get_label().startswith("Ratios of the plain way to the kit")


def test_files_are_named_after_the_device() -> None:
    assert file_stem("cpu") == "speed"
    assert file_stem("NVIDIA H200 (80GB)") == "speed-nvidia-h200-80gb"


def test_growth_is_a_slope_and_a_ratio() -> None:
    times = {"open 500": [[0.01]], "open 2000": [[0.016]], "open 8000": [[0.04]]}
    times |= {"batch 500": [[0.02]], "batch 2000": [[0.02]], "batch 8000": [[0.04]]}
    sizes = (500, 2000, 8000)
    clip, opening, batch = speed_data.growth_rows(times, sizes, sizes)
    assert clip.kit and round(clip.kit.median, 6) == 4.0 and clip.met == "yes"
    assert opening.met == "yes" and "8,000 clips 40.0 ms" in clip.note
    assert batch.kit and batch.kit.median == 2 and batch.met == "no"


def test_answers_of_new_processes_become_rounds() -> None:
    answers = {
        "kit": [{"seconds": [0.1], "grown_mib": 0}],
        "plain": [{"seconds": [2.0], "grown_mib": 50}],
    }
    seconds = speed_data._by_side(answers, "seconds")
    memory = speed_data._by_side(answers, "grown_mib")
    assert ratio_of(seconds["plain"], seconds["kit"]).median == pytest.approx(20)
    assert ratio_of(memory["plain"], memory["kit"]).median == 500  # nothing counts as 0.1 MiB


def test_only_a_run_that_made_everything_counts_as_the_whole_lab(tmp_path: Path) -> None:
    from tools.lab.notebooks import NOTEBOOKS

    names = ["demo_set", *(notebook.name for notebook in NOTEBOOKS)]

    def write(run: str, statuses: list[str], demo: bool = True) -> None:
        rows = [{"notebook": n, "status": s} for n, s in zip(names, statuses, strict=True)]
        summary = {"run": run, "total_seconds": 400.0, "profile": "demo", "notebooks": rows}
        (tmp_path / run).mkdir()
        (tmp_path / run / "summary.json").write_text(json.dumps(summary | {"data": {"demo": demo}}))

    assert speed_lab.newest_first_run(tmp_path) is None
    write("again", ["up to date", *["done"] * (len(names) - 1)])
    write("own-data", ["done"] * len(names), demo=False)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "summary.json").write_text("{")
    assert speed_lab.newest_first_run(tmp_path) is None
    write("whole", ["done"] * len(names))
    found = speed_lab.newest_first_run(tmp_path)
    assert found is not None and found["run"] == "whole"


# ---- the command line --------------------------------------------------------------------------


def test_an_unknown_row_is_one_clear_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert speed.main(["--only", "lstm-beet"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "--only lstm-beet: no such row (did you mean 'lstm-beat'?); known: " in error


@pytest.mark.parametrize(
    "words", [["--quik"], ["--device", "abacus"], ["--audio", "nowhere", "--only", "whole-lab"]]
)
def test_wrong_use_is_one_clear_line(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert speed.main(words) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_rows_are_picked_by_name_and_by_family() -> None:
    groups = speed.all_groups()
    names = [group.name for group in groups]
    assert len(set(names)) == len(names)
    assert [group.name for group in speed.pick_groups(groups, [])] == names
    picked = [group.name for group in speed.pick_groups(groups, ["cnn", "lstm-beat"])]
    assert picked == ["lstm-beat", "cnn-crop", "cnn-full"]


def test_a_group_that_breaks_down_is_a_row_that_says_so(tmp_path: Path) -> None:
    def broken(context: Context) -> list[Row]:
        raise LabError("no room")

    groups = [Group("open", broken), Group("lstm", lambda context: [FAST])]
    rows, failed = speed.measure(groups, Context(True, "cpu", tmp_path, say=lambda line: None))
    assert failed == ["open"]
    assert [row.verdict for row in rows] == ["not measured: no room", "yes"]


def test_only_shows_and_writes_nothing(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(speed, "RESULTS", tmp_path / "results")
    slow = Row("lstm", "LSTM step", ratio=Stat.of([2.0]), limit=Limit(AT_LEAST, 100))
    for rows, code in (([FAST, ABSENT], 0), ([slow], 1)):
        groups = [Group("lstm", lambda context, rows=rows: rows)]
        monkeypatch.setattr(speed, "all_groups", lambda groups=groups: groups)
        assert speed.main(["--quick", "--device", "cpu", "--only", "lstm"]) == code
        assert not (tmp_path / "results").exists()
    assert "not met: lstm" in capsys.readouterr().out
    assert speed.main(["--quick", "--device", "cpu"]) == 1
    assert sorted(path.name for path in (tmp_path / "results").iterdir()) == [
        "speed.csv",
        "speed.png",
    ]
    assert speed.main(["--markdown", "--device", "cpu"]) == 0
    assert "| LSTM step |" in capsys.readouterr().out


def test_a_side_does_nothing_by_itself() -> None:
    side = Side()
    side.warm_up()
    assert side.results() == {} and side.facts() == {}
