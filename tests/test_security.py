"""Nothing gets in through a file, nothing gets out through a record."""

from __future__ import annotations

import ast
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from tests.compose import composed
from tests.conftest import ROOT, command
from tgpo.config.check import check
from tgpo.errors import RequestError, without_credentials
from tgpo.models.loading import TINY_ROOT, load_model
from tgpo.preflight.checks import preflight
from tgpo.runs.provenance import provenance
from tgpo.runs.sweep import LONGEST_NAME, folder_name
from tgpo.tasks.demonstrations import read

SOURCES = [ROOT / "run.py", *(p for part in ("tgpo", "benchmarks", "experiments") for p in (ROOT / part).rglob("*.py"))]
UNPICKLING = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
LOADERS = {
    "torch.load", "torch.hub.load", "yaml.load", "yaml.load_all", "yaml.unsafe_load", "yaml.full_load",
    "pd.read_pickle", "pandas.read_pickle", "np.load", "numpy.load",
}  # fmt: skip


def faults(tree: ast.AST) -> list[str]:
    """What could run code that a file brings along. `np.load` is safe unless told to unpickle, and is looked at."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.split(".")[0] in UNPICKLING]
        elif isinstance(node, ast.ImportFrom):
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found += [name for name in names if name.split(".")[0] in UNPICKLING or name in LOADERS]
        elif isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            keywords = {k.arg: ast.unparse(k.value) for k in node.keywords}
            numpy_is_safe = name in ("np.load", "numpy.load") and keywords.get("allow_pickle", "False") == "False"
            yaml_is_safe = name == "yaml.load" and [ast.unparse(a) for a in node.args[1:]] == ["SafeLoader"]
            if (name in LOADERS and not (numpy_is_safe or yaml_is_safe)) or name in ("eval", "exec", "__import__"):
                found.append(name)
            if (
                keywords.get("trust_remote_code", "False") != "False"
                or keywords.get("use_safetensors", "True") != "True"
            ):
                found.append(ast.unparse(node))
            if keywords.get("weights_only", "True") != "True" or keywords.get("shell", "False") != "False":
                found.append(ast.unparse(node))
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_source_unpickles_or_runs_what_a_file_says(path):
    assert faults(ast.parse(path.read_text())) == []


@pytest.mark.parametrize(
    "planted",
    [
        "import pickle", "from pickle import loads", "import joblib", "torch.load(p)",
        "torch.load(p, weights_only=True)",
        "from torch import load", "np.load(p, allow_pickle=True)", "yaml.load(f, Loader=yaml.Loader)",
        "yaml.unsafe_load(f)",
        "pd.read_pickle(p)", "eval(text)", "AutoModel.from_pretrained(p, trust_remote_code=True)",
        "AutoModel.from_pretrained(p, use_safetensors=False)", "subprocess.run(text, shell=True)",
    ],
)  # fmt: skip
def test_the_search_finds_what_is_planted(planted):
    assert faults(ast.parse(planted)) != []


def test_what_is_safe_is_not_found():
    assert (
        faults(ast.parse("np.load(p); yaml.safe_load(f); yaml.load(f, SafeLoader); json.loads(t); load_file(p)")) == []
    )


class Touch:
    """A pickle of it makes a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.fixture
def trap(tmp_path) -> tuple[bytes, Path]:
    owned = tmp_path / "owned"
    return pickle.dumps(Touch(owned)), owned


def test_the_trap_is_one(trap):
    payload, owned = trap
    pickle.loads(payload)
    assert owned.exists()


@pytest.mark.parametrize("beside_safetensors", [False, True])
def test_weights_that_are_a_pickle_are_never_loaded(beside_safetensors, trap, tmp_path):
    payload, owned = trap
    folder = Path(shutil.copytree(TINY_ROOT / "teacher", tmp_path / "model"))
    for name in ("pytorch_model.bin", "training_args.bin", "optimizer.pt", "model.pkl"):
        (folder / name).write_bytes(payload)
    request = check(composed("output_dir=unused", f"student.path={folder}"))
    if beside_safetensors:
        preflight(request)
        load_model(str(folder), "float32", "cpu")
    else:
        (folder / "model.safetensors").unlink()
        with pytest.raises(RequestError, match="can run code and are refused"):
            preflight(request)
        with pytest.raises(OSError, match="safetensors"):
            load_model(str(folder), "float32", "cpu")
    assert not owned.exists()


def shown(folder: Path, **columns) -> None:
    rows = {"problem_id": ["a"], "prompt": ["1+1"], "answer": ["2"], "response": ["2"], "response_ids": [[1, 2]]}
    pd.DataFrame(rows | columns).to_parquet(folder / "part-00000.parquet")


@pytest.mark.parametrize(
    "columns",
    [
        {"response_ids": ["12"]}, {"response_ids": [None]}, {"response_ids": [[]]}, {"response_ids": [[1, -1]]},
        {"response_ids": [[1.5]]}, {"response_ids": [["x"]]}, {"response_ids": [[[1]]]}, {"response_ids": [7]},
    ],
)  # fmt: skip
def test_demonstrations_with_odd_content_are_refused(columns, tmp_path):
    shown(tmp_path, **columns)
    with pytest.raises(RequestError, match="has no token ids"):
        read(tmp_path)


def test_demonstrations_that_are_something_else_are_refused_and_not_run(trap, tmp_path):
    payload, owned = trap
    for content in (payload, b"", b"PAR1", b"PAR1" + payload + b"PAR1", b'{"a": 1}', b"\0" * 1_000):
        (tmp_path / "part-00000.parquet").write_bytes(content)
        with pytest.raises(RequestError, match="not a parquet file"):
            read(tmp_path)
    assert not owned.exists()
    shown(tmp_path)
    (tmp_path / "recipe.json").write_bytes(payload)
    assert list(read(tmp_path).by_problem.values()) == [[(1, 2)]]


SECRET = "hunter2"
ADDRESSES = [
    f"http://user:{SECRET}@h:80",
    f"https://{SECRET}@h",
    f"http://:{SECRET}@h/v1",
    f"ftp://u:{SECRET}@h",
    f"u:{SECRET}@h",
]
QUERIES = [f"http://h:80/?key={SECRET}", f"http://h:80/#{SECRET}"]


@pytest.mark.parametrize("address", ADDRESSES + QUERIES)
def test_an_address_with_a_secret_is_refused_and_not_repeated(address):
    with pytest.raises(RequestError, match=r"server\.key_variable") as caught:
        check(composed("output_dir=unused", f"server.urls=['http://h:1','{address}']"))
    assert SECRET not in str(caught.value)


def test_a_key_given_for_the_name_of_its_variable_is_refused_and_not_repeated():
    for key in ("sk-0123456789abcdef", "0123456789abcdef0123456789abcdef01234567", ""):
        with pytest.raises(RequestError, match="the name of a variable, in capitals") as caught:
            check(composed("output_dir=unused", f"server.key_variable='{key}'"))
        assert not key or key not in str(caught.value)


@pytest.mark.parametrize("address", ADDRESSES[:4])
def test_credentials_are_taken_out_of_text(address):
    cleaned = without_credentials(f"server.urls=[{address},http://b/x]: wrong")
    assert SECRET not in cleaned
    assert cleaned.endswith("http://b/x]: wrong")
    for untouched in ("http://h:80/v1", "mail me@home", "a@b", "x://"):
        assert without_credentials(untouched) == untouched


def test_the_recorded_command_has_no_credentials(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/somewhere/run.py", f"server.urls=[http://user:{SECRET}@h:80]", "seed=1"])
    record = provenance({"seed": 1})["command"]
    assert record == ["run.py", "server.urls=[http://...@h:80]", "seed=1"]


@pytest.mark.parametrize("name", ["../../x", "/x", "a/b", "..", ".", "", ".hidden", "a\\b", "a b"])
def test_a_name_is_not_a_path(name):
    with pytest.raises(RequestError, match="it names a folder"):
        check(composed("output_dir=unused", f"name='{name}'"))


@pytest.mark.parametrize(
    "text", ["a=../../b", "/etc", "..", "a/../../b,c=/d", "x\0y", "é/" * 200, "a" * 1_000, "", "....//"]
)
def test_what_overrides_name_is_one_folder(text, tmp_path):
    folder = tmp_path / f"0_{folder_name(text)}"
    folder.mkdir()
    assert folder.resolve().parent == tmp_path.resolve()
    assert len(folder.name.encode()) <= LONGEST_NAME + 20


def test_long_overrides_that_differ_at_the_end_name_different_folders():
    assert folder_name("a" * 500 + "1") != folder_name("a" * 500 + "2")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["name=../../escaped"], "it names a folder"),
        (["-m", "name=../../escaped,../escaped"], "it names a folder"),
        (["-m", "student.path=../../../../escaped/x,tiny:nope"], "student.path"),
        ([f"server.urls=['http://u:{SECRET}@h:80']"], "server.key_variable"),
        (["-m", f"server.urls=['http://u:{SECRET}@h:80']", "seed=1,2"], "server.key_variable"),
        ([f"http://u:{SECRET}@h:80"], "server.key_variable"),
        ([f"server.urls=http://u:{SECRET}@h:80"], "server.key_variable"),
    ],
)
def test_the_command_writes_nothing_outside_and_no_secret(arguments, words, tmp_path):
    """From a folder far enough down that an escape would be seen; the command writes below where it is called."""
    here = tmp_path / "a" / "b" / "c" / "d"
    here.mkdir(parents=True)
    done = subprocess.run(
        [sys.executable, str(ROOT / "run.py"), *arguments], cwd=here, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 2
    assert words in done.stderr
    written = [path for path in tmp_path.rglob("*") if not path.is_relative_to(here)]
    assert sorted(written) == sorted(here.parents[i] for i in range(3))
    assert SECRET not in done.stdout + done.stderr + " ".join(map(str, here.rglob("*")))
    assert all(SECRET.encode() not in path.read_bytes() for path in here.rglob("*") if path.is_file())
    if "-m" not in arguments:
        assert not [path for path in here.rglob("*") if path.is_file()]


@pytest.mark.slow
def test_keys_reach_no_file_of_a_run(tmp_path, monkeypatch):
    """One in the environment, one in ~/.netrc, one for a teacher's server; a real run with W&B beside it, offline."""
    keys = {"WANDB_API_KEY": "0123456789abcdef" * 2 + "01234567", "TGPO_SERVER_KEY": "sk-planted-for-this-test"}
    netrc = "fedcba9876543210" * 2 + "fedcba98"
    home, run = tmp_path / "home", tmp_path / "run"
    home.mkdir()
    (home / ".netrc").write_text(f"machine api.wandb.ai\n  login user\n  password {netrc}\n")
    (home / ".netrc").chmod(0o600)
    for name, value in {**keys, "HOME": str(home), "TMPDIR": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    small = ["train.steps=1", "rollout.prompts_per_batch=2", "rollout.group_size=2", "task.eval_two_terms=2"]
    done = command(*small, "task.eval_more_terms=2", "logger=wandb", f"output_dir={run}")
    assert done.returncode == 0, done.stderr
    files = [path for path in tmp_path.rglob("*") if path.is_file() and path != home / ".netrc"]
    assert any(path.suffix == ".wandb" for path in files)
    assert {"config.yaml", "provenance.json", "metrics.jsonl", "report.html"} <= {path.name for path in files}
    for secret in (*keys.values(), netrc):
        assert secret not in done.stdout + done.stderr
        assert [str(path) for path in files if secret.encode() in path.read_bytes()] == []
