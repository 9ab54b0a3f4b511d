"""The registry: where files are searched, how they are checked, and downloads without a network."""

from __future__ import annotations

import errno
import gzip
import hashlib
import io
import lzma
import re
import tarfile
from pathlib import Path

import pooch
import pytest

from biorep import datasets, resources
from biorep.datasets import files, registry
from biorep.datasets.files import download
from biorep.errors import DataError
from biorep.tables import DATASETS

CONTENT = b"some bytes " * 50
PACKED = {"": CONTENT, ".gz": gzip.compress(CONTENT, mtime=0), ".xz": lzma.compress(CONTENT)}
SUMS = {form: hashlib.sha256(data).hexdigest() for form, data in PACKED.items()}
FILE = registry.DataFile("toy-images", SUMS)


def _entry(members=(FILE,), mirrors=(), archive=None, archive_sha256=None, extra=None):
    return registry.Entry(
        "toy", "Toy", "CC0", "nobody", "toy-folder", members, mirrors, archive, archive_sha256, extra or {}
    )


def _put(folder, name="toy-images", data=CONTENT):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)
    return folder / name


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    """BIOREP_DATA, the folder beside the checkout and the cache: all of them empty, and no way to the network."""

    def no_network(*arguments, **options):
        raise AssertionError("a test tried to download")

    monkeypatch.setattr(pooch, "retrieve", no_network)
    (tmp_path / "mine").mkdir()
    monkeypatch.setenv("BIOREP_DATA", str(tmp_path / "mine"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(resources, "checkout", lambda: tmp_path / "repository")
    return {
        "argument": tmp_path / "argument",
        "environment": tmp_path / "mine",
        "checkout": tmp_path / "shared" / "data",
        "cache": resources.cache_folder(),
    }


# ---------------------------------------------------------------------------------------------- the table itself


def test_the_registry_is_complete():
    entries = registry.entries()
    assert sorted(entries) == ["cifar10", "digits", "fashion-mnist", "mnist", "natural-patches"]
    for name, entry in entries.items():
        assert entry.name == name
        assert entry.title
        assert entry.licence
        assert entry.citation
        checksums = [checksum for file in entry.files for checksum in file.checksums.values()]
        checksums += [entry.checksum] + ([entry.archive_sha256] if entry.archive else [])
        assert all(re.fullmatch("[0-9a-f]{64}", checksum) for checksum in checksums)
        assert all(mirror.startswith("https://") and mirror.endswith("/") for mirror in entry.mirrors)
    assert [len(entries[name].files) for name in ("mnist", "fashion-mnist", "cifar10", "digits")] == [4, 4, 6, 0]
    every = [sum_ for entry in entries.values() for file in entry.files for sum_ in file.checksums.values()]
    assert len(set(every)) == len(every)


def test_the_checksum_of_a_set_is_made_of_its_plain_files():
    other = registry.DataFile("b", {"": "cd" * 32, ".gz": "ef" * 32})
    expected = hashlib.sha256((SUMS[""] + "cd" * 32).encode()).hexdigest()
    assert _entry((FILE, other)).checksum == expected
    assert _entry((), extra={"sha256": "ab"}).checksum == "ab"


def test_keys_of_known_sets_hold_their_words_and_checksums():
    entries = registry.entries()
    for name in ("digits", "mnist", "fashion-mnist", "cifar10"):
        dataset = DATASETS.parse({"name": name})
        assert dataset.content() == {"word": name, "sha256": entries[name].checksum}
        assert dataset.word == name


def test_every_entry_of_the_registry_is_a_word_of_the_table():
    assert set(registry.entries()) == set(DATASETS) - {"gratings"}  # made, not read
    for word in DATASETS:
        assert DATASETS.load(word)().name == word


# -------------------------------------------------------------------------------------------------- where to look


def test_folders_are_searched_in_order(places):
    order = ["environment", "checkout", "cache"]
    assert files.search_folders() == [places[name] for name in order]
    for name in reversed(order):
        path = _put(places[name] / "toy-folder")
        assert files.find(_entry(), FILE) == path


def test_a_folder_that_is_named_replaces_all_others(places):
    for name in ("environment", "checkout", "cache"):
        _put(places[name] / "toy-folder")
    assert files.search_folders(places["argument"]) == [places["argument"]]
    assert files.find(_entry(), FILE, places["argument"]) is None
    path = _put(places["argument"] / "toy-folder")
    assert files.find(_entry(), FILE, str(places["argument"])) == path


def test_without_environment_and_checkout_only_the_cache_is_left(places, monkeypatch):
    monkeypatch.setenv("BIOREP_DATA", "")
    monkeypatch.setattr(resources, "checkout", lambda: None)
    assert files.search_folders() == [places["cache"]]


def test_a_variable_that_names_no_folder_is_told(places, monkeypatch):
    monkeypatch.setenv("BIOREP_DATA", str(places["environment"] / "mspelt"))
    with pytest.warns(UserWarning, match="^BIOREP_DATA names .*/mspelt, which is no folder: other folders"):
        assert files.search_folders()[1:] == [places["checkout"], places["cache"]]


def test_a_tilde_is_the_home_of_the_user(places, monkeypatch):
    monkeypatch.setenv("HOME", str(places["environment"].parent))
    monkeypatch.setenv("BIOREP_DATA", "~/mine")
    assert files.search_folders()[0] == places["environment"]
    assert files.search_folders("~/mine") == [places["environment"]]


def test_a_cache_that_cannot_be_written_is_named(places, monkeypatch):
    def full(**options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pooch, "retrieve", full)
    with pytest.raises(DataError, match=f"^the cache {places['cache']}.* cannot be written.*XDG_CACHE_HOME=FOLDER"):
        files.read(_entry(mirrors=("https://first/",)), FILE)


def test_files_may_lie_directly_in_the_folder(places):
    direct = _put(places["environment"], "toy-images.xz", PACKED[".xz"])
    assert files.find(_entry(), FILE) == direct
    assert files.read(_entry(), FILE) == CONTENT
    below = _put(places["environment"] / "toy-folder")
    assert files.find(_entry(), FILE) == below


def test_a_folder_with_the_name_of_a_file_is_no_file(places):
    (places["environment"] / "toy-folder" / "toy-images").mkdir(parents=True)
    assert files.find(_entry(), FILE) is None


@pytest.mark.parametrize("form", ["", ".gz", ".xz"])
def test_every_form_gives_the_same_bytes(places, form):
    path = _put(places["environment"] / "toy-folder", f"toy-images{form}", PACKED[form])
    assert files.find(_entry(), FILE) == path
    assert files.read(_entry(), FILE) == CONTENT


def test_a_form_without_checksum_is_not_taken(places):
    _put(places["environment"], "toy-images.gz", PACKED[".gz"])
    plain_only = registry.DataFile("toy-images", {"": SUMS[""]})
    assert files.find(_entry((plain_only,)), plain_only) is None


# ------------------------------------------------------------------------------------------ damaged and missing


@pytest.mark.parametrize("folder", ["", "toy-folder"])
@pytest.mark.parametrize("form", ["", ".gz", ".xz"])
def test_a_damaged_file_is_named_with_both_checksums(places, form, folder):
    damaged = bytearray(PACKED[form])
    damaged[len(damaged) // 2] ^= 1
    path = _put(places["environment"] / folder, f"toy-images{form}", bytes(damaged))
    with pytest.raises(DataError) as caught:
        files.read(_entry(), FILE)
    # In the folder of the data set it is the one; elsewhere another data set may own it, and the search goes on.
    assert ("was not found" in str(caught.value)) == (folder == "")
    assert str(caught.value).splitlines()[0] == (
        f"{path} is damaged or is another file: {len(damaged)} bytes with SHA-256 "
        f"{hashlib.sha256(damaged).hexdigest()}, expected {SUMS[form]}. Remove it and run the command again, or put "
        f"a good copy of 'toy-images{form}' in its place."
    )
    assert path.exists()


def test_a_folder_of_mnist_does_not_hide_fashion_mnist(places, monkeypatch):
    # BIOREP_DATA names the folder of MNIST itself; Fashion-MNIST, whose files have the same names, is elsewhere.
    _put(places["environment"], "toy-images", b"the images of MNIST")
    _put(places["cache"] / "toy-folder")
    assert files.read(_entry(), FILE) == CONTENT


def test_a_missing_file_without_mirror(places):
    with pytest.raises(DataError) as caught:
        files.read(_entry(), FILE)
    lines = str(caught.value).splitlines()
    assert lines[0] == "data set 'toy': the file 'toy-images' was not found. Any of these forms will do:"
    assert lines[1:4] == [f"  toy-images{form}  sha256 {SUMS[form]}" for form in ("", ".gz", ".xz")]
    assert lines[5:8] == [f"  {places[name] / 'toy-folder'}" for name in ("environment", "checkout", "cache")]
    assert lines[8].startswith("This data set has no mirror. Put the file into one of these folders")


# ------------------------------------------------------------------------------------------------------ downloads


class Mirrors:
    """Stand-in for `pooch.retrieve`: each mirror either serves a file or raises."""

    def __init__(self, answers):
        self.answers, self.calls = answers, []

    def __call__(self, url, known_hash, fname, path, processor=None):
        self.calls.append((url, known_hash))
        answer = next(value for start, value in self.answers.items() if url.startswith(start))
        if isinstance(answer, Exception):
            raise answer
        target = _put(Path(path), fname, answer)
        if "sha256:" + hashlib.sha256(answer).hexdigest() != known_hash:
            target.unlink()
            raise ValueError("SHA256 hash of downloaded file does not match the known hash")
        if processor is not None:
            return processor(str(target), "download", None)
        return str(target)


def _mirrors(monkeypatch, answers):
    mirrors = Mirrors(answers)
    monkeypatch.setattr(pooch, "retrieve", mirrors)
    return mirrors


def test_the_second_mirror_is_asked_when_the_first_fails(places, monkeypatch):
    mirrors = _mirrors(monkeypatch, {"https://a/": ConnectionError("down"), "https://b/": PACKED[".gz"]})
    entry = _entry(mirrors=("https://a/", "https://b/", "https://c/"))
    assert files.read(entry, FILE) == CONTENT
    known = f"sha256:{SUMS['.gz']}"
    assert mirrors.calls == [("https://a/toy-images.gz", known), ("https://b/toy-images.gz", known)]
    assert files.find(entry, FILE) == places["cache"] / "toy-folder" / "toy-images.gz"
    assert files.read(entry, FILE) == CONTENT
    assert len(mirrors.calls) == 2  # the second time it is in the cache


def test_a_mirror_that_serves_another_file_is_passed_over(monkeypatch):
    mirrors = _mirrors(monkeypatch, {"https://a/": b"<html>", "https://b/": PACKED[".gz"]})
    assert files.read(_entry(mirrors=("https://a/", "https://b/")), FILE) == CONTENT
    assert len(mirrors.calls) == 2


def test_files_without_packed_form_are_downloaded_plain(monkeypatch):
    plain_only = registry.DataFile("toy-images", {"": SUMS[""]})
    mirrors = _mirrors(monkeypatch, {"https://a/": CONTENT})
    assert files.read(_entry((plain_only,), mirrors=("https://a/",)), plain_only) == CONTENT
    assert mirrors.calls == [("https://a/toy-images", f"sha256:{SUMS['']}")]


def test_all_mirrors_and_their_reasons_are_reported(places, monkeypatch):
    _mirrors(monkeypatch, {"https://a/": ConnectionError("down"), "https://b/": b"other"})
    with pytest.raises(DataError) as caught:
        files.read(_entry(mirrors=("https://a/", "https://b/")), FILE)
    message = str(caught.value)
    assert "No mirror could serve it (https://a/: ConnectionError; https://b/: ValueError)." in message
    assert f"toy-images.gz  sha256 {SUMS['.gz']}" in message
    assert files.find(_entry(), FILE) is None


def test_nothing_is_downloaded_when_a_folder_is_named(places, monkeypatch):
    mirrors = _mirrors(monkeypatch, {"https://a/": PACKED[".gz"]})
    with pytest.raises(DataError, match="A folder was named, so nothing was downloaded"):
        files.read(_entry(mirrors=("https://a/",)), FILE, places["argument"])
    assert mirrors.calls == []


def test_nothing_is_downloaded_when_the_file_is_at_hand(places, monkeypatch):
    mirrors = _mirrors(monkeypatch, {"https://a/": PACKED[".gz"]})
    _put(places["checkout"])
    assert files.read(_entry(mirrors=("https://a/",)), FILE) == CONTENT
    assert mirrors.calls == []


def _archive(members):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def _archived(data):
    plain_only = registry.DataFile("toy-images", {"": SUMS[""]})
    entry = _entry((plain_only,), archive="https://a/toy.tar.gz", archive_sha256=hashlib.sha256(data).hexdigest())
    return entry, plain_only


def test_a_file_out_of_an_archive(places, monkeypatch):
    data = _archive({"toy-folder/toy-images": CONTENT, "toy-folder/readme": b"hello"})
    mirrors = _mirrors(monkeypatch, {"https://a/": data})
    entry, file = _archived(data)
    assert files.read(entry, file) == CONTENT
    assert files.find(entry, file) == places["cache"] / "toy-folder" / "toy-images"
    assert files.read(entry, file) == CONTENT
    assert len(mirrors.calls) == 1


def test_a_damaged_member_of_an_archive_is_refused(monkeypatch):
    data = _archive({"toy-folder/toy-images": CONTENT + b"!"})
    _mirrors(monkeypatch, {"https://a/": data})
    entry, file = _archived(data)
    with pytest.raises(DataError, match=f"expected {SUMS['']}"):
        files.read(entry, file)


def test_an_archive_without_the_file(monkeypatch):
    data = _archive({"toy-folder/other": CONTENT})
    _mirrors(monkeypatch, {"https://a/": data})
    entry, file = _archived(data)
    with pytest.raises(DataError, match=r"^the archive https://a/toy\.tar\.gz does not hold toy-folder/toy-images$"):
        download(entry, file)


def test_an_archive_that_cannot_be_had(monkeypatch):
    _mirrors(monkeypatch, {"https://a/": TimeoutError("slow")})
    entry, file = _archived(b"")
    with pytest.raises(DataError, match=r"The mirror could not serve it \(https://a/toy\.tar\.gz: TimeoutError\)\."):
        download(entry, file)


# ------------------------------------------------------------------------------------------------ what is at hand


def test_available_tells_where_the_files_are(places):
    rows = {row["name"]: row for row in datasets.available()}
    assert set(rows) == {*registry.entries(), "gratings"}
    assert rows["gratings"]["where"] == "made, not read"
    assert rows["digits"]["where"] == rows["natural-patches"]["where"] == "ships with scikit-learn"
    assert rows["mnist"]["where"] is None
    assert rows["cifar10"]["downloadable"] is True
    assert rows["digits"]["downloadable"] is False
    names = [file.name for file in registry.entries()["mnist"].files]
    for name in names[:-1]:
        _put(places["cache"] / "mnist", f"{name}.gz")
    assert {row["name"]: row["where"] for row in datasets.available()}["mnist"] is None
    _put(places["cache"] / "mnist", names[-1])
    assert {row["name"]: row["where"] for row in datasets.available()}["mnist"] == str(places["cache"] / "mnist")
    assert {row["name"]: row["where"] for row in datasets.available(places["argument"])}["mnist"] is None
