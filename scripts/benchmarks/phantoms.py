"""Measure the whole way of a visit on phantom patients whose truth is known exactly.

Usage: python scripts/benchmarks/phantoms.py --out DIR [--seeds N ...] [--visits 2] [--cases NAME ...]

Cases: ``patient1`` and so on, one for each seed, with infarcts of 30 to 150 mL on alternating sides;
``healthy``, a head without an infarct; ``twin``, one head with and without an infarct of 150 mL. Each visit
has a T1w of 1 mm and a FLAIR of 1 x 1 x 4 mm with noise, bias field and distractors, and takes some minutes.
A case that is done has a file ``DIR/NAME.json`` and is not done again with the same options; delete the file
to measure a changed program. Every step runs in a process of its own, so that its peak memory is its own.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion

from mripipe.bids.files import write_atomic
from mripipe.core.grid import Volume, voxel_to_world, voxel_volume_ml
from mripipe.core.itk import LPS
from mripipe.core.phantom import (
    PhantomGrid,
    PhantomPatient,
    Side,
    draw_patient,
    lesion_mni_ml,
    native_to_mni,
    render_visit,
    true_masks,
    true_points,
    visit_grid,
)
from mripipe.model.results import VisitResult
from mripipe.model.settings import Level, RegistrationSettings, Settings
from mripipe.model.stages import AlignedVisits, NormalisedVisit, PreparedVisit, SegmentedVisit
from mripipe.model.study import Scan, Session
from mripipe.steps.anatomical import prepare_visit
from mripipe.steps.lesion import segment_visit
from mripipe.steps.lesion_in_time import segment_in_time
from mripipe.steps.load import save_image
from mripipe.steps.longitudinal import align_visits
from mripipe.steps.measure import measure_visit
from mripipe.steps.normalisation import normalise_visit
from mripipe.steps.phantom_study import phantom_atlas

SEEDS = (601, 602, 603, 604)
LESIONS_ML = (30.0, 150.0, 60.0, 110.0)
SIDES: tuple[Side, ...] = ("left", "right")
DAYS = (45.0, 410.0, 135.0)
"""Of the first, second and third visit: two visits are those furthest apart."""
TWIN_ML = 150.0
STEP_MM = 0.25
"""For derivatives of the true map."""
MASKS = ("brain", "lesion", "ventricle_left", "ventricle_right")
WORST = {
    "lesion_dice": (0.85, "min"),
    "lesion_dice_t1w_alone": (0.75, "min"),
    "side_right": (1.0, "min"),
    "mni_error_mm": (1.0, "max"),
    "lesion_mni_error_percent": (5.0, "max"),
    "brain_dice": (0.96, "min"),
    "between_visits_mm": (0.1, "max"),
}
"""What every visit must reach; the volume error counts by its median."""

Row = dict[str, Any]


@dataclass(frozen=True)
class Options:
    """What the images are like and how they are processed."""

    visits: int
    t1w_mm: float
    flair_mm: tuple[float, float, float]
    level: Level


@dataclass(frozen=True)
class Spent:
    """What one step took."""

    step: str
    wall_s: float
    cpu_s: float
    peak_gb: float


@dataclass(frozen=True)
class Chain:
    """The visits of one patient after all steps."""

    segmented: list[SegmentedVisit]
    t1w_alone: list[SegmentedVisit]
    aligned: AlignedVisits
    normalised: list[NormalisedVisit]
    results: list[VisitResult]
    spent: list[list[Spent]]
    """For each visit; the alignment counts with the first."""


def measured(function: Callable[..., Any], arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """Run a step and add what it took."""
    begun, used = time.monotonic(), _cpu_s()
    result = function(*arguments, **options)
    return result, Spent(function.__name__, time.monotonic() - begun, _cpu_s() - used, _peak_gb())


def _peak_gb() -> float:
    """Return the most memory this process has held; getrusage's figure starts at that of its parent."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024**2


def _cpu_s() -> float:
    usages = [resource.getrusage(kind) for kind in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def run_step(function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """Run a step in a new process; return its result and what it took."""
    options["folder"].mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(measured, function, arguments, options).result()


def write_visit(
    patient: PhantomPatient, visit: int, folder: Path, options: Options
) -> tuple[Session, PhantomGrid]:
    """Render and write a visit's T1w and FLAIR in whole numbers, as scanners do."""
    grid = visit_grid(patient, visit, "T1w", zooms_mm=(options.t1w_mm,) * 3)
    flair = visit_grid(patient, visit, "FLAIR", zooms_mm=options.flair_mm)
    images = {
        "T1w": (render_visit(patient, visit, "T1w", grid), grid),
        "FLAIR": (render_visit(patient, visit, "FLAIR", flair, subslices=4), flair),
    }
    scans = []
    for suffix, (data, where) in images.items():
        whole = np.clip(np.rint(data), 0, 32767)
        scans.append(
            Scan(save_image(folder / f"{suffix}.nii.gz", whole, where.affine, dtype=np.int16), suffix)
        )
    return Session("sub-phantom", f"ses-{visit + 1}", scans=tuple(scans)), grid


def run_chain(sessions: list[Session], folder: Path, options: Options, *, alone: bool = True) -> Chain:
    """Take all visits of a patient through every step."""
    settings = Settings(registration=RegistrationSettings(level=options.level))
    segmented, t1w_alone, normalised, results, spent = [], [], [], [], []
    for session in sessions:
        here = folder / session.session_id
        prepared, first = run_step(prepare_visit, session, folder=here / "prepare")
        found, second = run_step(segment_visit, prepared, settings=settings.lesion, folder=here / "segment")
        segmented.append(found)
        spent.append([first, second])
        if alone:
            bare: PreparedVisit = replace(prepared, coregistered=())
            folder_alone = here / "t1w_alone"
            t1w_alone.append(run_step(segment_visit, bare, settings=settings.lesion, folder=folder_alone)[0])
    aligned, taken = run_step(
        align_visits, tuple(segmented), settings=settings.registration, folder=folder / "align"
    )
    spent[0].append(taken)
    once = tuple(segmented)
    for number, session in enumerate(sessions):
        here = folder / session.session_id
        if len(once) > 1:
            segmented[number], taken = run_step(
                segment_in_time, once[number], once, aligned, folder=here / "segment_in_time"
            )
            spent[number].append(taken)
        visit = segmented[number]
        carried, first = run_step(
            normalise_visit, visit, aligned, settings=settings.registration, folder=here / "normalise"
        )
        result, second = run_step(measure_visit, carried, folder=here / "measure")
        normalised.append(carried)
        results.append(result)
        spent[number] += [first, second]
    return Chain(segmented, t1w_alone, aligned, normalised, results, spent)


def read_mask(path: Path) -> NDArray[np.bool_]:
    """Read a mask that a step wrote."""
    image: Any = nib.load(path)
    return np.asarray(np.asarray(image.dataobj) > 0)


def dice(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """Return Dice; 1 where both are empty."""
    total = np.count_nonzero(first) + np.count_nonzero(second)
    return 2.0 * np.count_nonzero(first & second) / total if total else 1.0


def mapped(transform: sitk.Transform, points_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    """Map RAS points (N, 3) by an ITK transform alone."""
    lps = LPS[:3, :3]
    return np.array([transform.TransformPoint(point) for point in (points_mm @ lps).tolist()]) @ lps


def carried_ml(
    mask: NDArray[np.bool_], affine: NDArray[np.float64], patient: PhantomPatient, visit: int
) -> float:
    """Return the volume that the true map gives a native mask in MNI: the sum of its local expansion."""
    points = voxel_to_world(np.argwhere(mask), affine)
    steps = np.eye(3) * STEP_MM
    columns = [
        (native_to_mni(patient, visit, points + step) - native_to_mni(patient, visit, points - step))
        / (2 * STEP_MM)
        for step in steps
    ]
    expansion = np.abs(np.linalg.det(np.stack(columns, axis=2)))
    return float(expansion.sum()) * voxel_volume_ml(affine)


def percent_off(value: float | None, truth: float) -> float | None:
    """Return the signed error in percent of the truth."""
    return 100.0 * (value - truth) / truth if value is not None and truth > 0 else None


def judge_lesion(
    chain: Chain, number: int, patient: PhantomPatient, truth: dict[str, NDArray[np.bool_]]
) -> Row:
    """Compare infarct, side and volume with the truth."""
    volumes, true_ml = chain.results[number].volumes, patient.visits[number].lesion_ml
    final = read_mask(chain.segmented[number].final_mask)
    row: Row = {
        "status": volumes.status,
        "side_right": float(volumes.side == patient.side),
        "true_ml": true_ml,
        "lesion_ml": volumes.lesion_ml,
        "lesion_dice": dice(final, truth["lesion"]),
        # An infarct that was missed is off by all of it.
        "volume_error_percent": percent_off(volumes.lesion_ml or 0.0, true_ml),
        "interval_holds_truth": _holds(volumes.lesion_ml_lower, volumes.lesion_ml_upper, true_ml),
    }
    if chain.t1w_alone:
        alone = chain.t1w_alone[number]
        row |= {
            "t1w_alone_ml": alone.lesion_ml,
            "lesion_dice_t1w_alone": dice(read_mask(alone.final_mask), truth["lesion"]),
            "volume_error_percent_t1w_alone": percent_off(alone.lesion_ml, true_ml),
            "side_right_t1w_alone": float(alone.side == patient.side),
        }
    if final.any() and volumes.lesion_mni_ml is not None and volumes.lesion_ml is not None:
        image: Any = nib.load(chain.segmented[number].final_mask)
        row["lesion_mni_error_percent"] = percent_off(
            volumes.lesion_mni_ml, carried_ml(final, image.affine, patient, number)
        )
        if true_ml:
            growth = lesion_mni_ml(patient, number) / true_ml
            row["mni_ratio_error_percent"] = percent_off(volumes.lesion_mni_ml / volumes.lesion_ml, growth)
    return row


def _holds(lower: float | None, upper: float | None, truth: float) -> float | None:
    return None if lower is None or upper is None else float(lower <= truth <= upper)


def judge_anatomy(
    chain: Chain,
    number: int,
    patient: PhantomPatient,
    truth: dict[str, NDArray[np.bool_]],
    grid: PhantomGrid,
) -> Row:
    """Compare brain and ventricles with the truth; ventricles have a side only where the infarct has one."""
    volumes = chain.results[number].volumes
    row: Row = {"brain_dice": dice(read_mask(chain.results[number].brain_mask or Path()), truth["brain"])}
    if patient.side == "none" or volumes.side != patient.side:
        return row
    other = "right" if patient.side == "left" else "left"
    for name, side, value in (
        ("ipsi", patient.side, volumes.ventricle_ipsi_ml),
        ("contra", other, volumes.ventricle_contra_ml),
    ):
        true_ml = float(np.count_nonzero(truth[f"ventricle_{side}"])) * grid.voxel_ml
        row |= {
            f"ventricle_{name}_true_ml": true_ml,
            f"ventricle_{name}_error_percent": percent_off(value, true_ml),
        }
    return row


def judge_map(
    chain: Chain, number: int, patient: PhantomPatient, *, outside_of: PhantomPatient | None = None
) -> Row:
    """Compare the written transforms, read by SimpleITK alone, with the true map outside the infarct."""
    points = true_points(patient, number)
    kept = ~true_points(outside_of or patient, number).in_lesion
    native, mni = points.native_mm[kept], points.mni_mm[kept]
    to_mni = sitk.ReadTransform(str(chain.normalised[number].to_mni))
    from_mni = sitk.ReadTransform(str(chain.normalised[number].from_mni))
    found = mapped(from_mni, native)
    errors = np.linalg.norm(found - mni, axis=1)
    back = np.linalg.norm(mapped(to_mni, found) - native, axis=1)
    affine = np.array(chain.aligned.to_visit[number]) @ np.array(chain.aligned.affine_to_mni)
    by_affine = voxel_to_world(native, np.linalg.inv(affine))
    quality = chain.normalised[number]
    return {
        "mni_error_mm": float(errors.mean()),
        "mni_error_p95_mm": float(np.percentile(errors, 95)),
        "affine_error_mm": float(np.linalg.norm(by_affine - mni, axis=1).mean()),
        "round_trip_mean_mm": float(back.mean()),
        "round_trip_max_mm": float(back.max()),
        "jacobian_min": quality.jacobian_min,
        "tissue_dice": quality.tissue_dice,
    }


def between_visits_mm(chain: Chain, number: int, patient: PhantomPatient, first: Volume) -> dict[str, float]:
    """Return how far the alignment puts the first visit's brain surface from where it belongs in another."""
    surface = np.argwhere((first.data > 0) & ~binary_erosion(first.data > 0))[::20]
    points = voxel_to_world(surface, first.affine)
    found = np.array(chain.aligned.to_visit[number]) @ np.linalg.inv(np.array(chain.aligned.to_visit[0]))
    apart = voxel_to_world(points, found) - voxel_to_world(points, patient.visit_to_visit(0, number))
    distances = np.linalg.norm(apart, axis=1)
    return {
        "between_visits_mm": float(distances.mean()),
        "between_visits_max_mm": float(distances.max()),
    }


def judge_spent(spent: Iterable[Spent]) -> Row:
    """Return each step's time and memory, and the visit's as a whole."""
    steps = list(spent)
    row: Row = {
        "cpu_s": sum(step.cpu_s for step in steps),
        "wall_s": sum(step.wall_s for step in steps),
        "peak_gb": max(step.peak_gb for step in steps),
    }
    for step in steps:
        row |= {f"{step.step}_cpu_s": step.cpu_s, f"{step.step}_wall_s": step.wall_s}
        row[f"{step.step}_peak_gb"] = step.peak_gb
    return row


def run_patient(patient: PhantomPatient, folder: Path, options: Options) -> list[Row]:
    """Make a patient's images, process them, and judge every visit."""
    made = [
        write_visit(patient, visit, folder / f"visit{visit + 1}", options)
        for visit in range(len(patient.visits))
    ]
    chain = run_chain([session for session, _ in made], folder, options)
    rows = []
    for number, (session, grid) in enumerate(made):
        truth = true_masks(patient, number, grid, labels=MASKS)
        if number == 0:
            first = Volume(truth["brain"].astype(np.float32), grid.affine)
        row: Row = {"session": session.session_id, "side": patient.side}
        row |= judge_lesion(chain, number, patient, truth)
        row |= judge_anatomy(chain, number, patient, truth, grid)
        row |= judge_map(chain, number, patient)
        if number:
            row |= between_visits_mm(chain, number, patient, first)
        rows.append(row | judge_spent(chain.spent[number]))
    return rows


def run_twins(seed: int, folder: Path, options: Options) -> list[Row]:
    """Register one head with and without an infarct of 150 mL; errors at the same points."""
    atlas = phantom_atlas()
    ill = draw_patient(atlas, seed=seed, side="right", lesion_ml=TWIN_ML, days=DAYS[:1])
    well = draw_patient(atlas, seed=seed, side="none", days=DAYS[:1])
    rows = []
    for name, patient in (("with", ill), ("without", well)):
        session, _ = write_visit(patient, 0, folder / name, options)
        chain = run_chain([session], folder / name, options, alone=False)
        row: Row = {
            "session": f"{name} infarct",
            "side": patient.side,
            "true_ml": patient.visits[0].lesion_ml,
        }
        row |= judge_map(chain, 0, patient, outside_of=ill)
        rows.append(row | judge_spent(chain.spent[0]))
    return rows


def run_case(name: str, seeds: list[int], folder: Path, options: Options) -> list[Row]:
    """Run one case by name."""
    if name == "twin":
        return run_twins(seeds[-1] + 1, folder, options)
    healthy = name == "healthy"
    index = len(seeds) if healthy else int(name.removeprefix("patient")) - 1
    patient = draw_patient(
        phantom_atlas(),
        seed=seeds[-1] + 2 if healthy else seeds[index],
        side="none" if healthy else SIDES[index % len(SIDES)],
        lesion_ml=LESIONS_ML[index % len(LESIONS_ML)],
        days=tuple(sorted(DAYS[: 1 if healthy else options.visits])),
    )
    return run_patient(patient, folder, options)


def summarise(cases: dict[str, list[Row]]) -> list[Row]:
    """Hold what was measured against what is asked for."""
    rows = [row for name, visits in cases.items() if name.startswith("patient") for row in visits]
    lines = []
    for name, (limit, kind) in WORST.items():
        values = [abs(row[name]) for row in rows if row.get(name) is not None]
        if values:
            worst = min(values) if kind == "min" else max(values)
            lines.append(_line(f"{name}, worst", worst, limit, kind) | {"mean": float(np.mean(values))})
    for name in ("volume_error_percent", "volume_error_percent_t1w_alone"):
        values = [abs(row[name]) for row in rows if row.get(name) is not None]
        if values:
            lines.append(_line(f"|{name}|, median", float(np.median(values)), 10.0, "max"))
    for row in cases.get("healthy", []):
        nothing = row["status"] == "no_lesion_found" and not row["t1w_alone_ml"]
        lines.append(_line("healthy: nothing found", float(nothing), 1.0, "min"))
    if "twin" in cases:
        ill, well = (row["mni_error_mm"] for row in cases["twin"])
        lines.append(_line("twin: MNI error with infarct, % worse", 100 * (ill / well - 1), 10.0, "max"))
    for name, limit in (("wall_s", 180.0), ("peak_gb", 3.0)):
        if rows:
            lines.append(_line(f"{name} of a visit, worst", max(row[name] for row in rows), limit, "max"))
    return lines


def _line(name: str, value: float, limit: float, kind: str) -> Row:
    met = bool(value >= limit if kind == "min" else value <= limit)
    return {
        "figure": name,
        "value": value,
        "asked": f"{'>=' if kind == 'min' else '<='} {limit:g}",
        "met": met,
    }


def show(rows: list[Row]) -> str:
    """Return rows as tab-separated text, with every column that any of them has."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    lines = ["\t".join(columns)]
    lines += ["\t".join(_cell(row.get(name)) for name in columns) for row in rows]
    return "\n".join(lines) + "\n"


def _cell(value: object) -> str:
    if value is None:
        return "n/a"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def finished(path: Path, asked: Row) -> list[Row] | None:
    """Return the rows of a case that was done with the same options."""
    if not path.is_file():
        return None
    document = json.loads(path.read_text(encoding="utf-8"))
    rows: list[Row] = document["visits"]
    return rows if document["options"] == asked else None


def main() -> None:
    """Run the cases that are not done, and print all that are."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS), metavar="SEED")
    parser.add_argument("--visits", type=int, choices=(1, 2, 3), default=2)
    parser.add_argument("--cases", nargs="+", metavar="NAME", help="only these; all where not given")
    parser.add_argument("--t1w-mm", type=float, default=1.0)
    parser.add_argument("--flair-mm", type=float, nargs=3, default=[1.0, 1.0, 4.0])
    parser.add_argument("--level", choices=("fast", "standard"), default="standard")
    given = parser.parse_args()
    names = [f"patient{number + 1}" for number in range(len(given.seeds))] + ["healthy", "twin"]
    if unknown := set(given.cases or ()) - set(names):
        parser.error(f"no such case: {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    flair = (given.flair_mm[0], given.flair_mm[1], given.flair_mm[2])
    options = Options(given.visits, given.t1w_mm, flair, given.level)
    asked = json.loads(json.dumps({"seeds": given.seeds, **vars(options)}))
    cases: dict[str, list[Row]] = {}
    for name in given.cases or names:
        path = given.out / f"{name}.json"
        rows = finished(path, asked)
        if rows is None:
            print(f"{name} ...", file=sys.stderr, flush=True)
            rows = run_case(name, given.seeds, given.out / name, options)
            write_atomic(path, json.dumps({"options": asked, "visits": rows}, indent=1) + "\n")
        cases[name] = rows
    visits = [{"case": name, **row} for name, rows in cases.items() for row in rows]
    figures = summarise(cases)
    write_atomic(given.out / "visits.tsv", show(visits))
    write_atomic(given.out / "summary.json", json.dumps(figures, indent=1) + "\n")
    for row in visits:
        print("\n".join(f"{name:36} {_cell(value)}" for name, value in row.items()), end="\n\n")
    print(show(figures).expandtabs(44), end="")


if __name__ == "__main__":
    main()
