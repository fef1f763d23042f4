"""The scripts of groovy/: they compile, call only what is stated, and do what they say against QuPath in memory."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
import tomllib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import shapely
from predictions_made_up import predict_truth

from qpkit.core.annotation import Annotation, PathClass, argb
from qpkit.core.labels import default_label_map
from qpkit.core.provenance import is_untouched, prediction_id, provenance
from qpkit.core.review import is_unsure
from qpkit.qupath import open_project, read_geojson, write_geojson
from qpkit.workflows.imports.geojson import predictions_to_geojson
from qpkit.workflows.imports.settings import ImportSettings
from shared_data import ROOT

SCRIPTS = sorted((ROOT / "groovy").glob("*.groovy"))
HERE = Path(__file__).parent
VERSIONS = ["0.4", "0.5", "0.6"]
SHARED_BLOCK = re.compile(
    r"// ==== ([a-z]+): the same text in every script that needs it ====\n(.*?)// ==== end of \1", re.S
)
TUMOR = PathClass(("Tumor",), argb(200, 0, 0))


@cache
def groovy() -> list[str]:
    """Java 17 before others: Debian's Groovy 2.4 does not know newer ones."""
    own = Path(os.environ.get("GROOVY_HOME", "/nowhere"))
    jars = [Path("/usr/share/java/groovy-all.jar"), *own.glob("lib/*all*.jar"), *own.glob("embeddable/*all*.jar")]
    homes = [*sorted(Path("/usr/lib/jvm").glob("*17*")), Path(os.environ.get("JAVA_HOME", "/nowhere"))]
    javas = [home / "bin" / "java" for home in homes] + [Path(shutil.which("java") or "/nowhere")]
    jar = next((p for p in jars if p.is_file()), None)
    java = next((p for p in javas if p.is_file()), None)
    if jar is None or java is None:
        pytest.skip("Groovy is not installed (Debian: apt-get install groovy)")
    opened = ["--add-opens=java.base/java.lang=ALL-UNNAMED", "--add-opens=java.base/java.util.stream=ALL-UNNAMED"]
    return [str(java), "-XX:TieredStopAtLevel=1", *opened, "-cp", str(jar)]


def java(classpath: Path | None, *arguments: str | Path) -> str:
    command = groovy()
    if classpath is not None:
        command = [*command[:-1], f"{command[-1]}{os.pathsep}{classpath}"]
    done = subprocess.run([*command, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@cache
def looked_at() -> dict[str, Any]:
    found = json.loads(java(None, "groovy.ui.GroovyMain", HERE / "harness.groovy", *SCRIPTS))
    return {Path(path).name: what for path, what in found.items()}


def stated() -> dict[str, Any]:
    return tomllib.loads((ROOT / "groovy" / "qupath_api.toml").read_text(encoding="utf-8"))


def test_there_are_four_scripts() -> None:
    names = ["export_annotations", "import_predictions", "review_predictions", "run_qpkit_predict"]
    assert [path.stem for path in SCRIPTS] == names


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_the_header_says_what_it_does_and_where_it_runs(path: Path) -> None:
    header = path.read_text(encoding="utf-8").split("*/", 1)[0]
    assert header.startswith("/*\n")
    for word in ("What:", "Inputs:", "Outputs:", "QuPath:", "Run:"):
        assert f" * {word}" in header
    assert "0.4, 0.5, 0.6, 0.7" in header


def test_shared_parts_are_the_same_in_every_script() -> None:
    texts: dict[str, set[str]] = {}
    for path in SCRIPTS:
        for name, text in SHARED_BLOCK.findall(path.read_text(encoding="utf-8")):
            texts.setdefault(name, set()).add(text)
    assert {name: len(found) for name, found in texts.items()} == {"images": 1, "provenance": 1, "loading": 1}


def test_every_script_compiles() -> None:
    assert {name: what["error"] for name, what in looked_at().items()} == {path.name: None for path in SCRIPTS}


def test_a_broken_script_is_refused(tmp_path: Path) -> None:
    broken = tmp_path / "broken.groovy"
    broken.write_text(SCRIPTS[0].read_text(encoding="utf-8").replace("def open = ", "def open = = "), encoding="utf-8")
    found = json.loads(java(None, "groovy.ui.GroovyMain", HERE / "harness.groovy", broken))
    assert "broken.groovy" in found[str(broken)]["error"]


def test_scripts_call_what_is_stated_and_nothing_else() -> None:
    api = stated()
    methods = {m for one in api["class"] for m in one["methods"]}
    known = methods | set(api["java"]["methods"])
    called: set[str] = set()
    for name, what in looked_at().items():
        ours = {call.lstrip(".") for call in what["calls"]} - set(what["own"])
        assert not ours - known, f"{name}: not stated in qupath_api.toml"
        called |= ours
    by_name = {m for one in api["class"] for m in one.get("by_name", [])}
    text = "".join(path.read_text(encoding="utf-8") for path in SCRIPTS)
    assert all(f"'{method}'" in text for method in by_name)
    assert known - called - by_name == set(), "stated in qupath_api.toml, but not called"


def test_classes_are_those_stated_with_their_versions_and_sources() -> None:
    api = stated()
    classes = {one["name"]: one for one in api["class"]}
    for name, what in looked_at().items():
        used = {i for i in what["imports"] if i.startswith(("qupath.", "javafx."))}
        assert not used - classes.keys(), f"{name}: not stated in qupath_api.toml"
    imported = {i for what in looked_at().values() for i in what["imports"]}
    assert all(one["name"] in imported for one in classes.values() if one.get("imported", True))
    for one in classes.values():
        if one["name"].startswith("qupath."):
            assert one["source"].endswith(".java")
            assert one["seen_in"]
            assert set(one["seen_in"]) <= api["evidence"].keys()
            assert set(one.get("differs", {})) <= set(one["methods"]) | set(one.get("by_name", []))


@pytest.fixture(scope="session")
def stubs(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """QuPath's classes in memory as one version has them, compiled."""

    @cache
    def make(version: str) -> Path:
        source = tmp_path_factory.mktemp(f"stubs-{version}")
        for path in (HERE / "stubs").glob("*.groovy"):
            lines = path.read_text(encoding="utf-8").splitlines()
            (source / path.name).write_text("\n".join(x for x in lines if _is_in(x, version)), encoding="utf-8")
        target = source / "classes"
        target.mkdir()
        compiler = "org.codehaus.groovy.tools.FileSystemCompiler"
        java(None, compiler, "-d", target, *sorted(source.glob("*.groovy")))
        return target

    return make


def _is_in(line: str, version: str) -> bool:
    since, until = re.search(r"// since (\d\.\d)$", line), re.search(r"// until (\d\.\d)$", line)
    return not ((since and since[1] > version) or (until and until[1] < version))


Play = Callable[..., dict[str, Any]]


@pytest.fixture
def play(stubs: Callable[[str], Path], tmp_path: Path) -> Play:
    """Run a script on a project of three images; the arguments are the scenario's."""

    def run(script: str, version: str = "0.6", **scenario: Any) -> dict[str, Any]:
        (tmp_path / "project").mkdir(exist_ok=True)
        spec = {
            "project": str(tmp_path / "project" / "project.qpproj"),
            "classes": [{"name": "Tumor", "color": TUMOR.color}, {"name": "Stroma", "color": -1}],
            "settings": {},
            "keys": [],
            "open": [],
            **scenario,
        }
        (tmp_path / "spec.json").write_text(json.dumps(spec), encoding="utf-8")
        files = (ROOT / "groovy" / f"{script}.groovy", tmp_path / "spec.json", tmp_path / "became.json")
        java(stubs(version), "groovy.ui.GroovyMain", HERE / "scenario.groovy", *files)
        became: dict[str, Any] = json.loads((tmp_path / "became.json").read_text(encoding="utf-8"))
        return became

    return run


def entry(number: int, name: str, objects: list[Annotation] | None = None, **more: Any) -> dict[str, Any]:
    return {
        "id": str(number),
        "name": name,
        "uri": f"file:/slides/{number}%20image.tif",
        "size": {"width": 1000, "height": 800, "mpp": 0.25},
        "objects": features(objects or []),
        **more,
    }


def features(objects: list[Annotation]) -> list[Any]:
    if not objects:
        return []
    with TemporaryDirectory() as folder:
        write_geojson(Path(folder) / "objects.geojson", objects)
        found: list[Any] = json.loads((Path(folder) / "objects.geojson").read_text(encoding="utf-8"))["features"]
    return found


def predicted(x: float, *, run: str = "run one", cls: PathClass = TUMOR, slide: str = "a", **more: Any) -> Annotation:
    hole = [(x + 10, 20), (x + 20, 20), (x + 15, 30)]
    shape = shapely.Polygon([(x, 10), (x + 40, 12), (x + 30, 60), (x, 50)], [hole])
    return Annotation(
        geometry=shape,
        path_class=cls,
        id=prediction_id(run, slide, str(cls), shape),
        metadata=provenance(run, "model", str(cls), shape),
        measurements={"Mean probability": round(0.5 + x / 1000, 4)},
        **more,
    )


def human(x: float) -> Annotation:
    box = shapely.box(x, 100, x + 9, 109)
    return Annotation(geometry=box, path_class=TUMOR, id=prediction_id("me", "", "", box))


def ids(found: list[Any]) -> list[str]:
    return sorted(feature["id"] for feature in found)


def folder_of(path: Path, slides: dict[str, list[Annotation]], **more: Any) -> Path:
    """What --geojson-only writes."""
    path.mkdir(exist_ok=True)
    files = []
    for number, (slide, objects) in enumerate(slides.items(), start=1):
        write_geojson(path / f"{number}.geojson", objects)
        place = {"slide": slide, "image": f"/slides/{slide}", "entry": "", "width": 1000, "height": 800}
        files.append({"file": f"{number}.geojson", **place, **more})
    record = {"run": "run two", "model": "m", "files": files, "slides": []}
    (path / "import.json").write_text(json.dumps(record), encoding="utf-8")
    return path


@pytest.mark.parametrize("version", VERSIONS)
def test_export_writes_what_qpkit_reads_and_names_what_it_cannot(play: Play, tmp_path: Path, version: str) -> None:
    out = tmp_path / "out"
    became = play(
        "export_annotations",
        version,
        args=[str(tmp_path / "project.qpproj"), str(out)],
        entries=[
            entry(1, "ä b/1.svs", [predicted(0), human(5)], metadata={"Patient": "P 1"}),
            entry(2, "A b/1.svs", [human(7)]),
            entry(3, "broken", fault="the file is gone"),
            entry(4, "no scale", size={"width": 10, "height": 20, "mpp": None, "unknown": True}),
        ],
    )
    info = json.loads((out / "project.json").read_text(encoding="utf-8"))
    images = info["images"]
    assert [image.get("file") for image in images] == ["b_1.svs.geojson", "A_b_1.svs.geojson", None, "no_scale.geojson"]
    assert ids_of(read_geojson(out / "b_1.svs.geojson")) == ids_of([predicted(0), human(5)])
    assert images[0]["metadata"] == {"Patient": "P 1"}
    assert images[0]["uris"] == ["file:/slides/1%20image.tif"]
    assert (images[0]["width"], images[0]["height"], images[0]["mpp_x"], images[0]["mpp_y"]) == (1000, 800, 0.25, 0.25)
    assert (images[3]["width"], images[3].get("mpp_x")) == (10, None)
    assert images[2]["skipped"] == "the file is gone"
    assert info["classes"][0] == {"name": "Tumor", "color": [200, 0, 0]}
    assert became["log"][-1] == f"Export: 3 of 4 images, 3 objects in {out}; 1 skipped"


def ids_of(objects: list[Annotation]) -> list[str | None]:
    return sorted(str(o.id) for o in objects)


def test_export_takes_open_images_from_the_screen_and_replaces_only_its_own_files(play: Play, tmp_path: Path) -> None:
    entries = [entry(1, "one", [human(5)], live=features([human(5), human(6)])), entry(2, "two", [human(7)])]
    scenario = {"window": True, "open": ["1"], "entries": entries}
    out = tmp_path / "project" / "qpkit-annotations"
    became = play("export_annotations", **scenario)
    assert len(read_geojson(out / "one.geojson")) == 2
    (out / "mine.txt").touch()
    play("export_annotations", **(scenario | {"entries": entries[:1]}))
    assert sorted(path.name for path in out.iterdir()) == ["mine.txt", "one.geojson", "project.json"]
    (out / "project.json").unlink()
    became = play("export_annotations", **scenario)
    assert became["log"] == [f"Export: {out} holds something else; choose another FOLDER"]


@pytest.mark.parametrize("version", VERSIONS)
def test_import_replaces_only_what_nobody_has_touched(play: Play, tmp_path: Path, version: str) -> None:
    old = [predicted(0), predicted(100), predicted(200), predicted(300), predicted(400)]
    moved = Annotation(geometry=shapely.box(1, 1, 5, 5), path_class=TUMOR, id=old[1].id, metadata=old[1].metadata)
    reclassified = with_class(old[2], PathClass(("Stroma",)))
    locked = predicted(300, locked=True)
    there = [old[0], moved, reclassified, locked, old[4], human(5)]
    assert [is_untouched(o) for o in there[:5]] == [True, False, False, False, True]
    fresh = [old[0], old[1], old[2], old[3], predicted(500, run="run two")]
    folder = folder_of(tmp_path / "in", {"a": fresh})
    became = play(
        "import_predictions",
        version,
        args=[str(folder), "project.qpproj"],
        entries=[entry(1, "a", there), entry(2, "b")],
    )
    counts = "1 added, 1 removed, 1 unchanged, 3 edited ones kept"
    assert became["log"] == [f"Import: a: {counts}", f"Import: {counts}"]
    after = {f["id"]: f["properties"] for f in became["saved"]["1"]}
    assert sorted(after) == ids_of([*there[:4], human(5), fresh[4]])
    assert after[str(fresh[4].id)]["metadata"]["qpkit run"] == "run two"
    assert after[str(fresh[4].id)]["classification"]["name"] == "Tumor"
    assert became["saves"] == {"1": 1, "2": 0}


def with_class(item: Annotation, path_class: PathClass) -> Annotation:
    return Annotation(geometry=item.geometry, path_class=path_class, id=item.id, metadata=item.metadata)


@pytest.mark.parametrize("version", VERSIONS)
def test_importing_twice_saves_nothing(play: Play, tmp_path: Path, version: str) -> None:
    objects = [predicted(0), predicted(100, cls=PathClass(("Tumor", "Positive"), -1))]
    folder = folder_of(tmp_path / "in", {"a": objects})
    args = [str(folder), "project.qpproj"]
    first = play("import_predictions", version, args=args, entries=[entry(1, "a")])
    assert first["saves"] == {"1": 1}
    again = entry(1, "a") | {"objects": first["saved"]["1"]}
    second = play("import_predictions", version, args=args, entries=[again])
    assert second["saves"] == {"1": 0}
    assert second["log"][-1] == "Import: 0 added, 0 removed, 2 unchanged, 0 edited ones kept"


def test_what_qpkit_writes_is_imported_and_untouched(play: Play, study: Path, tmp_path: Path) -> None:
    made = predict_truth(study, tmp_path / "pred", default_label_map(open_project(study).classes))
    predictions_to_geojson(made, tmp_path / "out", ImportSettings())
    args = [str(tmp_path / "out"), "project.qpproj"]
    entries = [
        entry(n, s.name, size={"width": s.width, "height": s.height, "mpp": 0.5}) for n, s in enumerate(made.slides)
    ]
    first = play("import_predictions", args=args, entries=entries)
    count = sum(len(objects) for objects in first["saved"].values())
    assert count > 5
    again = [e | {"objects": first["saved"][e["id"]]} for e in entries]
    second = play("import_predictions", args=args, entries=again)
    assert second["log"][-1] == f"Import: 0 added, 0 removed, {count} unchanged, 0 edited ones kept"


def test_import_changes_open_images_on_the_screen_and_lists_new_classes(play: Play, tmp_path: Path) -> None:
    necrosis = PathClass(("Necrosis",), -1)
    folder = folder_of(tmp_path / "in", {"a": [predicted(0), predicted(100, cls=necrosis)]})
    became = play(
        "import_predictions",
        window=True,
        open=["1"],
        settings={"FOLDER": f"'{folder}'"},
        entries=[entry(1, "a", live=features([human(5), predicted(300)]))],
    )
    assert ids(became["live"]["1"]) == ids_of([human(5), predicted(0), predicted(100, cls=necrosis)])
    assert became["saves"] == {"1": 0}
    assert became["log"][0].endswith("(open, not saved yet)")
    assert became["classes"] == ["Tumor", "Stroma", "Necrosis"]


def test_files_find_their_entries_by_name_then_image_then_id(play: Play, tmp_path: Path) -> None:
    slides = ("b", "3 image.tif", "twice", "nobody", "big")
    folder = folder_of(tmp_path / "in", {slide: [predicted(0, slide=slide)] for slide in slides})
    record = json.loads((folder / "import.json").read_text())
    record["files"][2]["entry"] = "5"
    record["files"][4]["width"] = 999
    (folder / "import.json").write_text(json.dumps(record))
    became = play(
        "import_predictions",
        args=[str(folder), "project.qpproj"],
        entries=[entry(1, "a"), entry(2, "b"), entry(3, "c"), entry(4, "twice"), entry(5, "twice"), entry(6, "big")],
    )
    assert became["saves"] == {"1": 0, "2": 1, "3": 1, "4": 0, "5": 1, "6": 0}
    assert became["log"][3:] == [
        "Import: nobody: skipped (no entry of this name in the project)",
        "Import: big: skipped (the image is 1000 x 800 px, the predicted one was 999 x 800)",
        "Import: 3 added, 0 removed, 0 unchanged, 0 edited ones kept; 2 skipped",
    ]


def test_objects_that_qpkit_did_not_write_are_not_imported(play: Play, tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "in", {"a": [human(1)]})
    became = play("import_predictions", args=[str(folder), "project.qpproj"], entries=[entry(1, "a")])
    assert became["log"][0] == "Import: a: skipped (1.geojson holds objects that qpkit did not write)"
    (folder / "import.json").unlink()
    became = play("import_predictions", args=[str(folder), "project.qpproj"], entries=[entry(1, "a")])
    assert "has no import.json" in became["log"][0]


@pytest.mark.parametrize("version", ["0.4", "0.6"])
def test_what_a_review_decides_is_what_the_next_export_learns_from(play: Play, version: str) -> None:
    live = [predicted(300), predicted(0), human(5), predicted(100), predicted(200, locked=True)]
    became = play(
        "review_predictions",
        version,
        window=True,
        open=["1"],
        entries=[entry(1, "a", live=features(live))],
        keys=["SPACE", "PAGE_DOWN", "PAGE_UP", "ENTER", "DIGIT2", "BACK_SPACE", "ENTER", "RUN", "ENTER"],
    )
    first, second, third = (str(predicted(x).id) for x in (0, 100, 300))
    assert became["keys"] == [
        ["SPACE", False, first],
        ["PAGE_DOWN", True, second],
        ["PAGE_UP", True, first],
        ["ENTER", True, second],
        ["DIGIT2", True, third],
        ["BACK_SPACE", True, third],
        ["ENTER", False, third],
        ["RUN", None, None],
        ["ENTER", False, third],
    ]
    after = {f["id"]: f["properties"] for f in became["live"]["1"]}
    assert sorted(after) == sorted([first, second, str(human(5).id), str(predicted(200).id)])
    assert after[first]["isLocked"]
    assert after[second]["classification"]["name"] == "Stroma"
    assert became["status"][0] == "All reviewed   1 accepted, 1 reclassified, 1 rejected, 0 unsure, 0 left"
    assert became["events"] == ["changed", "classified"]
    assert [after[one]["metadata"]["qpkit review"] for one in (first, second)] == ["accepted", "reclassified"]
    assert "qpkit reviewer" not in after[first]["metadata"]
    assert (became["windows"], became["filters"]) == (0, [0])


@pytest.mark.parametrize("version", ["0.4", "0.6"])
def test_who_is_unsure_says_so_and_the_object_waits_no_more(play: Play, tmp_path: Path, version: str) -> None:
    became = play(
        "review_predictions",
        version,
        window=True,
        open=["1"],
        settings={"REVIEWER": "'Dr. Ä'"},
        entries=[entry(1, "a", live=features([predicted(0)]))],
        keys=["U", "ENTER"],
    )
    (item,) = became["live"]["1"]
    facts = item["properties"]
    assert (facts["metadata"]["qpkit review"], facts["metadata"]["qpkit reviewer"]) == ("unsure", "Dr. Ä")
    assert 0 <= float(facts["metadata"]["qpkit review seconds"]) < 60
    assert not facts.get("isLocked")
    assert became["keys"][1][:2] == ["ENTER", False]
    write = tmp_path / "live.geojson"
    write.write_text(json.dumps({"type": "FeatureCollection", "features": became["live"]["1"]}), encoding="utf-8")
    (found,) = read_geojson(write)
    assert is_unsure(found)
    assert not is_untouched(found)


def test_a_rejected_object_can_stay_under_a_class(play: Play) -> None:
    became = play(
        "review_predictions",
        window=True,
        open=["1"],
        settings={"REJECT_AS": "'Ignore*'"},
        entries=[entry(1, "a", live=features([predicted(0)]))],
        keys=["BACK_SPACE"],
    )
    (item,) = became["live"]["1"]
    assert (item["properties"]["classification"]["name"], item["properties"]["isLocked"]) == ("Ignore*", True)


FAKE = """#!/usr/bin/env python3
import pathlib, shutil, sys
print("doing", sys.argv[1], flush=True)
if "--fail" in sys.argv:
    print("error: the run is not there")
    sys.exit(1)
if "--wait" in sys.argv:
    import time
    time.sleep(60)
if "--geojson-only" in sys.argv:
    out = sys.argv[sys.argv.index("--geojson-only") + 1]
    shutil.copytree(pathlib.Path(__file__).with_name("in"), out, dirs_exist_ok=True)
pathlib.Path(__file__).with_name("calls.txt").open("a").write(" ".join(sys.argv[1:]) + "\\n")
"""


@pytest.fixture
def fake(tmp_path: Path) -> dict[str, Any]:
    """A qpkit that predicts one object, and an open image."""
    program = tmp_path / "qpkit"
    program.write_text(FAKE, encoding="utf-8")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    folder_of(tmp_path / "in", {"a": [predicted(0)]})
    return {
        "window": True,
        "open": ["1"],
        "settings": {"QPKIT": f"'{program}'", "RUN": f"'{tmp_path}'"},
        "entries": [entry(1, "a", live=features([human(5), predicted(300)]))],
    }


needs_shebang = pytest.mark.skipif(os.name == "nt", reason="the stand-in for qpkit is a script with #!")


@needs_shebang
def test_predict_runs_qpkit_and_loads_the_result(play: Play, fake: dict[str, Any], tmp_path: Path) -> None:
    became = play("run_qpkit_predict", **fake)
    assert ids(became["live"]["1"]) == ids_of([human(5), predicted(0)])
    assert became["saves"] == {"1": 1}
    assert became["windows"] == 0
    assert "doing predict" in became["log"]
    assert became["log"][-1] == "Predict: a: 1 added, 1 removed, 0 unchanged, 0 edited ones kept"
    work = tmp_path / "project" / "qpkit" / "1"
    project = tmp_path / "project" / "project.qpproj"
    predict, imported = (tmp_path / "calls.txt").read_text().splitlines()
    assert predict == (f"predict {tmp_path} {project} --entry 1 -o {work}/predictions --overwrite --probabilities")
    assert imported == (
        f"import-predictions {work}/predictions {project} --geojson-only {work}/geojson --overwrite --min-area-um2 100"
    )


@needs_shebang
def test_a_failing_qpkit_is_one_line(play: Play, fake: dict[str, Any]) -> None:
    became = play("run_qpkit_predict", **(fake | {"settings": fake["settings"] | {"PREDICT": "['--fail']"}}))
    assert became["log"][-1] == "Predict: qpkit predict ended with 1: error: the run is not there"
    assert ids(became["live"]["1"]) == ids_of([human(5), predicted(300)])


@needs_shebang
def test_predict_can_be_cancelled(play: Play, fake: dict[str, Any]) -> None:
    waiting = fake["settings"] | {"PREDICT": "['--wait']"}
    became = play("run_qpkit_predict", **(fake | {"cancel": True, "settings": waiting}))
    assert became["log"][-1] == "Predict: cancelled"


def test_predict_says_what_it_lacks(play: Play, fake: dict[str, Any]) -> None:
    no_program = fake["settings"] | {"QPKIT": "'qpkit-is-not-here'"}
    assert "set QPKIT" in play("run_qpkit_predict", **(fake | {"settings": no_program}))["log"][0]
    no_run = fake["settings"] | {"RUN": "''"}
    assert "RUN is no folder" in play("run_qpkit_predict", **(fake | {"settings": no_run}))["log"][0]
    assert "no image" in play("run_qpkit_predict", **(fake | {"open": []}))["log"][0]
