"""What may be told of an image that is not to be known, and the table that leads back to it."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import pickle
import re
import stat
import traceback
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seg_batch.core.callbacks import Callback
from seg_batch.core.errors import InputError, PlanError, SegbatchError
from seg_batch.core.events import BlockEnded, Event, WorkerTrouble
from seg_batch.core.privacy.pseudonym import Pseudonym, Telling, hushed
from seg_batch.core.privacy.table import SourceOf, pseudonyms, read_table

PATH = "/data/White Room/Zebulon/scan_young.nii.gz"
HIDDEN = Pseudonym((PATH,), ("/out/labels", "my-model", "0123456789abcdef"), "0123456789abcdef")
ALPHABET = st.text(st.characters(categories=("L", "N", "P", "Zs")), max_size=60)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (f"{PATH}: the header is damaged: check the file", "0123456789abcdef: the header is damaged: check the file"),
        ("scan_young.nii.gz can't be read", "0123456789abcdef can't be read"),
        ("its band 'young' is missing", "its band '[...]' is missing"),
        ("the time is 20170613, or 2017-06-13", "the time is [...], or [...]"),
        ("born 1948.02.29 or 29/02/1948", "[...] or [...]"),
        ("UID 1.2.840.113619.2.55 is twice there", "UID [...] is twice there"),
        ("Zebulon Quagmire has 3 bands", "[...] has 3 bands"),
                ("/data/White Room/other.nii is there", "/[...]/other.nii is there"),
        ("my-model sees 16.4 GiB, 512 x 512 x 30 at 0.7031250 mm", "my-model sees 16.4 GiB, 512 x 512 x 30 at 0.7031250 mm"),
        ("/out/labels/0123456789abcdef_labels.nii.gz exists", "/out/labels/0123456789abcdef_labels.nii.gz exists"),
        ("ValueError: Quagmire", "ValueError: [...]"),
    ],
)  # fmt: skip
def test_only_own_words_public_names_and_short_numbers_are_told(text: str, told: str) -> None:
    assert HIDDEN.told(text) == told


@given(ALPHABET, ALPHABET, ALPHABET)
def test_what_is_told_is_told_again_unchanged_and_never_holds_a_name(
    before: str, name: str, after: str
) -> None:
    told = HIDDEN.told(f"{before} Zebulon{name} {after}")
    assert HIDDEN.told(told) == told
    assert "zebulon" not in told.casefold()
    assert PATH not in HIDDEN.told(f"{before}{PATH}{after}")


@given(st.text(st.characters(categories=("Ll", "Lu")), min_size=1, max_size=12))
def test_no_part_of_a_path_is_told_where_it_stands_alone(name: str) -> None:
    hidden = Pseudonym((f"/{name}x/{name}.nii",), (), "0123456789abcdef")
    if len(name) > 1:
        assert name not in hidden.told(f"the file of {name} can't be read").split()


@pytest.mark.parametrize(
    "error",
    [
        InputError(f"{PATH} can't be read (Quagmire): check it"),
        FileNotFoundError(errno.ENOENT, "No such file", PATH),
        ValueError("Quagmire"),
        KeyError("Quagmire"),
        OSError("Quagmire"),
        UnicodeDecodeError("utf-8", b"Quagmire", 0, 1, "Quagmire"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_say_no_more_than_may_be_told(error: Exception) -> None:
    error.__cause__ = ValueError("Zebulon")
    error.add_note("Zebulon")
    with pytest.raises(Exception) as caught, hushed(HIDDEN):
        raise error
    safe = caught.value
    whole = "".join(traceback.format_exception(safe)) + repr(safe) + repr(vars(safe))
    assert "Quagmire" not in whole.replace('("Quagmire")', "")
    assert "Zebulon" not in whole.replace(PATH, "")
    if isinstance(error, InputError | FileNotFoundError):
        assert type(safe) is type(error)
        assert str(pickle.loads(pickle.dumps(safe))) == str(safe)
    else:
        assert type(error).__name__ in repr(safe)


def test_what_stands_for_an_input_travels_without_its_gate() -> None:
    HIDDEN.told("warm")
    sent = pickle.dumps(HIDDEN)
    assert b"Gate" not in sent
    back = pickle.loads(sent)
    assert back == HIDDEN
    assert back.told(PATH) == HIDDEN.code


def test_events_pass_the_gate() -> None:
    class Kept(Callback):
        def __init__(self) -> None:
            self.events: list[Event] = []

        def on(self, event: Event) -> None:
            self.events.append(event)

    kept = Kept()
    telling = Telling(HIDDEN, kept)
    telling.on(WorkerTrouble("retried", "host:12", f"OSError: {PATH}"))
    receipt = {"worker": "host:12", "unreadable": [f"Quagmire in {PATH}"], "seconds": {"read": 1.0}}
    telling.on(BlockEnded("y0-x0", "host:12", receipt))
    telling.on(BlockEnded("y0-x0", "host:12", error=InputError(PATH)))
    text = repr(kept.events)
    assert "Zebulon" not in text
    assert "Quagmire" not in text
    assert (text.count("host:12"), text.count("y0-x0")) == (4, 2)


def test_a_source_gets_its_code_again_and_others_get_others(tmp_path: Path) -> None:
    table = tmp_path / "codes.json"
    sources = [SourceOf.at(["/a/x.nii"]), SourceOf.at(["/a/x.nii"], volume=1), SourceOf.at(["/b/x.nii"]), SourceOf.at(["/a/x"], "2"), SourceOf.at(["/a/x"], "3")]  # fmt: skip
    first = pseudonyms(table, sources)
    assert len({each.code for each in first}) == len(sources)
    assert first[0].folder == first[1].folder != first[2].folder
    before = table.read_bytes()
    assert pseudonyms(table, sources[::-1]) == first[::-1]
    assert table.read_bytes() == before
    assert [read_table(table).source(each.code) for each in first] == sources
    other = pseudonyms(tmp_path / "other.json", sources)
    assert not {each.code for each in first} & {each.code for each in other}
    assert first[0].sealed({"a": 1}) == first[0].sealed({"a": 1}) != first[1].sealed({"a": 1})
    assert first[0].sealed({"a": 1}) != other[0].sealed({"a": 1})


def test_the_table_is_for_its_owner_alone_and_the_code_tells_nothing(tmp_path: Path) -> None:
    table = tmp_path / "new" / "codes.json"
    (one,) = pseudonyms(table, [SourceOf.at([PATH])])
    assert stat.S_IMODE(table.stat().st_mode) == 0o600
    assert [path.name for path in table.parent.iterdir() if not path.name.startswith(".")] == ["codes.json"]  # fmt: skip
    key = json.loads(table.read_text())["key"]
    assert key not in repr(one)
    assert PATH not in repr(one)
    dry = tmp_path / "dry.json"
    assert pseudonyms(dry, [SourceOf.at([PATH])], is_dry=True)[0].code != one.code
    assert not dry.exists()


@pytest.mark.parametrize("content", ["", "[]", '{"kind": "segbatch codes"}', "\x00", '{"key": 1}'])
def test_a_file_that_is_no_table_is_refused_and_kept(tmp_path: Path, content: str) -> None:
    table = tmp_path / "codes.json"
    table.write_text(content)
    with pytest.raises(InputError, match="no table of codes"):
        pseudonyms(table, [SourceOf.at([PATH])])
    assert table.read_text() == content


def test_a_table_among_the_products_is_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "out")
    for table in (tmp_path / "out" / "codes.json", tmp_path / "link" / "deep" / "codes.json"):
        with pytest.raises(PlanError, match="folder of the products"):
            pseudonyms(table, [SourceOf.at([PATH])], [str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


def test_a_code_that_stands_for_two_is_noticed(tmp_path: Path) -> None:
    table = tmp_path / "codes.json"
    (one,) = pseudonyms(table, [SourceOf.at([PATH])])
    plain = json.loads(table.read_text())
    plain["codes"][one.code]["files"] = ["/other.nii"]
    table.write_text(json.dumps(plain))
    with pytest.raises(SegbatchError, match="stands for two inputs"):
        pseudonyms(table, [SourceOf.at([PATH])])


def _take(table: Path, number: int) -> None:
    for i in range(5):
        pseudonyms(table, [SourceOf.at([f"/{number}/{i}.nii"])])


def test_several_processes_write_one_table(tmp_path: Path) -> None:
    table = tmp_path / "codes.json"
    many = multiprocessing.get_context("fork")
    taking = [many.Process(target=_take, args=(table, number)) for number in range(4)]
    for process in taking:
        process.start()
    for process in taking:
        process.join()
    found = read_table(table)
    files = {found.source(code).files[0] for code in found.codes if found.source(code)}  # type: ignore[union-attr]
    assert files == {f"/{number}/{i}.nii" for number in range(4) for i in range(5)}
    assert os.stat(table).st_mode & 0o077 == 0


def test_a_word_of_our_own_is_withheld_where_it_is_the_name_of_the_source() -> None:
    hidden = Pseudonym(("/data/Block/Label.nii.gz",), (), "0123456789abcdef")
    for text in ("3:block", "3/Label", "7.block.2"):
        assert HIDDEN.told(text) == text
        assert not {"block", "label"} & set(re.findall("[a-z]+", hidden.told(text).casefold()))


def test_a_refused_table_gets_no_lock_and_an_open_one_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "other.json"
    other.write_text("{}")
    (tmp_path / "folder").mkdir()
    for path in (other, tmp_path / "folder"):
        with pytest.raises(InputError, match="no table of codes"):
            pseudonyms(path, [SourceOf.at([PATH])])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "other.json"]
    table = tmp_path / "codes.json"
    pseudonyms(table, [SourceOf.at([PATH])])
    table.chmod(0o644)
    with pytest.raises(InputError, match=r"open to everybody.*chmod 600"):
        pseudonyms(table, [SourceOf.at([PATH])])
