"""What a run of kernels along training says: its header, findings, tables and page."""

from pathlib import Path
from typing import Any

from zoo.gap import store
from zoo.gap.kernel_evolution import Evolution
from zoo.gap.run import trained
from zoo.report import document, figures, kernel_evolution, text
from zoo.report.kernel_evolution import Results, name_of
from zoo.report.tables import formula, table

TITLES = {
    "distance": "S from start to end, kernel's mean over outputs",
    "distance_full": "S from start to end, all pairs of outputs",
    "drift": "drift |K_T - K_0| / |K_0|, mean over outputs",
    "drift_full": "drift, all pairs of outputs",
    "velocity": "largest velocity S / dt",
    "angular_velocity": "largest angle / dt",
    "angular_velocity_last": "last angle / dt",
}
ENDS = {
    "alignment": "alignment with the labels",
    "alignment_centred": "centred alignment",
    "lambda_min": "lambda_min",
    "lambda_max": "lambda_max",
    "effective_rank": "effective rank",
    "top_share": "trace share of the k largest",
    "machine_loss": "test loss, kernel machine",
    "onwards_loss": "test loss, machine onwards from f_t",
    "network_loss": "test loss, network",
    "machine_accuracy": "test accuracy, kernel machine",
    "onwards_accuracy": "test accuracy, machine onwards from f_t",
    "network_accuracy": "test accuracy, network",
}
UNCERTAIN = "prediction uncertain"
CAPTIONS = {
    "widths": "Movement of the train kernel by the whole of training. S is the kernel "
    "distance 1 - <K,K'> / (|K||K'|), the drift |K_T - K_0| / |K_0|. S is about half "
    "of the squared drift where the change is orthogonal to the kernel, and less where "
    "the kernel only grows.",
    "distance": "Kernel distance S of the train kernel K_t, the NTK's mean over "
    "outputs, from the start and to the end of training.",
    "velocity": "Between neighbouring records, drawn at the later one. S is of second "
    "order in a small change, so that S / dt grows with dt where the kernel turns "
    "steadily; angle / dt does not. Float32 rounding is left out. Time t = learning "
    "rate * step / m^r, with r = 0 in the NTK parameterization and 1 in muP.",
    "alignment": "<K,YY'> / (|K||YY'|) on the train points, of the kernel and the "
    "labels with their means over points taken away (centred), and as they are.",
    "eigenvalues": "Of m^r K_t on the train points. Effective rank: (sum l)^2 / sum "
    "l^2. A lambda_min that is float32 rounding is left out.",
    "machine": "The kernel machine on K_t, the interpolant of least norm of the labels "
    "from f = 0, beside the network at the same step and the machine on the "
    "infinite-width NTK. All outputs share the kernel. Test loss is 1/(2n) sum |f - "
    "y|^2 on the test points.",
    "spectra": "Eigenvalues of m^r K_t on the train points at the first and the last "
    "step; those that are float32 rounding are not drawn.",
}
HEADINGS = {
    "widths": "Movement against width",
    "distance": "Kernel distance",
    "velocity": "Kernel velocity",
    "alignment": "Alignment with the labels",
    "eigenvalues": "Eigenvalues",
    "machine": "Kernel machines",
    "spectra": "Spectra",
}


def header(evolution: Evolution) -> str:
    """The settings that a number depends on, before it is measured."""
    config = evolution.config
    lines = [
        f"{config.arch} on {config.dataset}: {config.n_train} train points, "
        f"{config.n_test} test points, {config.seeds} seeds, widths "
        + ", ".join(map(str, config.widths)),
        "loss L = 1/(2n) sum_i |f(x_i) - y_i|^2; full-batch gradient descent; K_t is "
        "the NTK's mean over outputs; time t = eta * steps / m^r",
    ]
    for name, job in evolution.jobs.items():
        net = job.net(config.widths[0])
        first, last = config.widths[0], config.widths[-1]
        rates = [job.learning_rate(m) for m in (first, last)]
        shares = [job.learning_rate(m) / job.critical_rate(m) for m in (first, last)]
        lines.append(
            f"{name}: {trained(net)}, r = {getattr(net, 'rate', 0)}; learning rate "
            f"{_range(rates)} = {_range(shares)} x critical (2n / lambda_max of the "
            f"{job.edge()}); {config.steps} steps"
        )
    return "\n".join(lines)


def _range(values: list[float]) -> str:
    return " to ".join(dict.fromkeys(f"{v:.3g}" for v in values))


def sentences(summary: dict[str, Any]) -> list[str]:
    """What the run found, computed from its numbers."""
    out = []
    for name, found in summary["results"].items():
        metrics, title = found["metrics"], name_of(name) or summary["arch"]
        for metric in ("distance", "distance_full"):
            if metric in metrics:
                out.append(f"{title}: {_exponent(metric, metrics[metric], summary)}.")
        out += [f"{title}, m = {summary['widths'][-1]}: {s}." for s in _widest(found)]
        lost = {m: count for m, count in found["diverged"].items() if count}
        if lost:
            counts = ", ".join(f"{c} at width {m}" for m, c in lost.items())
            out.append(f"{title}: diverged seeds, left out: {counts}.")
    limit = summary["limit_machine"]
    if limit is not None:
        said = f"test loss {text.number(limit['loss'])}"
        if "accuracy" in limit:
            said += f", test accuracy {limit['accuracy']:.3f}"
        out.append(f"the kernel machine on the infinite-width NTK: {said}.")
    return out


def _exponent(name: str, metric: dict[str, Any], summary: dict[str, Any]) -> str:
    """One exponent; it "falls" only where the interval lies below zero."""
    slope, expected = metric["slope"], metric["expected"]
    if text.interval(slope) == "-":
        return f"{TITLES[name]}: {text.NO_EXPONENT}"
    edge = slope["ci95"][1]
    verb = "falls" if edge is not None and edge < 0 else "varies"
    used = slope["seeds"]
    some = "" if used == summary["seeds"] else f" ({used} of {summary['seeds']} seeds)"
    said = f"no expectation ({expected['source']})"
    if expected["slope"] is not None:
        said = f"{expected['status']}: {text.exponent(expected['slope'])}"
    local = metric["local_slopes"][-1] if len(metric["local_slopes"]) > 1 else None
    if local is not None:
        some += f", between the widest two as m^{text.interval(local)}"
    return f"{TITLES[name]} {verb} as m^{text.interval(slope)}{some}; {said}"


def _widest(found: dict[str, Any]) -> list[str]:
    """Findings at the widest network; no verdict is given on any of them."""
    mean = {name: metric["mean"][-1] for name, metric in found["metrics"].items()}
    if not _known(mean["machine_loss_end"]):
        return ["no seed is left"]
    out = [
        f"centred alignment goes from {mean['alignment_centred_start']:.3f} to "
        f"{mean['alignment_centred_end']:.3f}"
    ]
    half = list(found["half_way"].values())[-1]
    if half is not None and _known(mean["angular_velocity"]):
        last = "rounding"
        if _known(mean["angular_velocity_last"]):
            ratio = mean["angular_velocity"] / mean["angular_velocity_last"]
            last = f"1/{ratio:.3g} of its largest"
        out.append(
            f"half of the kernel's turn is made by step {half}, and its last angular "
            f"velocity is {last} (fast, then slow: Fort et al. 2020; {UNCERTAIN})"
        )
    return [*out, *_machines(found, mean)]


def _machines(found: dict[str, Any], mean: dict[str, float]) -> list[str]:
    """How good kernel machines are beside the network, and when they are as good."""
    out = []
    catches = list(found["catches_up"].values())[-1]
    for score, step in catches.items():
        start, end = mean[f"machine_{score}_start"], mean[f"machine_{score}_end"]
        own, steps = mean[f"network_{score}_end"], found["recorded_steps"][-1]
        when = "at no recorded step" if step is None else f"from step {step} of {steps}"
        out.append(
            f"test {score} of the kernel machine goes from {start:.3g} to {end:.3g}; "
            f"the network ends at {own:.3g}, and the machine is as good {when} (Fort "
            f"et al. 2020: after a fraction of training; {UNCERTAIN})"
        )
    out.append(
        f"trained onwards from f_0 instead of 0, the machine on K_0 has test loss "
        f"{mean['onwards_loss_start']:.3g}"
    )
    return out


def _known(value: float | None) -> bool:
    return value is not None and value == value


def tables(summary: dict[str, Any]) -> list[str]:
    """The movement with its exponents, and the ends of all else, as HTML."""
    out = []
    for name, found in summary["results"].items():
        title, metrics = name_of(name), found["metrics"]
        rows = [
            [
                TITLES[key],
                *map(text.number, metrics[key]["mean"]),
                text.interval(metrics[key]["slope"]),
                text.exponent(metrics[key]["expected"]["slope"]),
                metrics[key]["expected"]["source"],
            ]
            for key in TITLES
            if key in metrics
        ]
        head = ["width", *map(str, summary["widths"]), "exponent [95 %]", "expected"]
        out.append(table([*head, "its source"], rows, title, words=True))
        rows = [
            [said] + [_ends(metrics, key, i) for i in range(len(summary["widths"]))]
            for key, said in ENDS.items()
            if f"{key}_start" in metrics
        ]
        caption = f"{title}: at the first and at the last step, mean over seeds."
        out.append(table(["width", *map(str, summary["widths"])], rows, caption))
    return out


def _ends(metrics: dict[str, Any], key: str, place: int) -> str:
    start, end = (metrics[f"{key}_{at}"]["mean"][place] for at in ("start", "end"))
    return f"{text.number(start)} \u2192 {text.number(end)}"


def write(workdir: Path, summary: dict[str, Any], results: Results) -> Path:
    """Writes `<workdir>/report.html` and `<workdir>/figures/`; the page's path."""
    folder = workdir / "figures"
    folder.mkdir(parents=True, exist_ok=True)
    config = summary["config"]
    title = f"Kernel along training: {config['arch']} on {config['dataset']}"
    parts = [f"<p>{formula(opening(summary))}</p>", "<ul>"]
    parts += [f"<li>{formula(said)}</li>" for said in sentences(summary)]
    parts += ["</ul>", f"<p>{document.USE}</p>"]
    for number, make in enumerate(kernel_evolution.PLOTS, 1):
        plot = make(summary, results)
        figures.save(plot, folder)
        parts.append(f"<h2>{number}. {HEADINGS[plot.name]}</h2>")
        parts.append(document.figure(plot, formula(CAPTIONS[plot.name])))
    parts += [f"<h2>{len(HEADINGS) + 1}. Numbers</h2>", *tables(summary)]
    path = workdir / "report.html"
    store.write_text(path, document.html(title, parts))
    return path


def opening(summary: dict[str, Any]) -> str:
    """What was measured, in one paragraph."""
    c = summary["config"]
    said = []
    for name, found in summary["results"].items():
        net = ", ".join(f"{k} {v}" for k, v in found["network"].items())
        shares = [
            rate / edge
            for rate, edge in zip(
                found["learning_rates"], found["critical_rates"], strict=True
            )
        ]
        said.append(
            f"{name}: {found['trained']} ({net}), learning rate "
            f"{_range(found['learning_rates'])} = {_range(shares)} * critical (2n / "
            f"lambda_max of the {found['edge']}), reaching time "
            f"t = {_range(found['time_reached'])} (learning rate * steps / m^r, r = "
            f"{found['power']})"
        )
    return (
        f"Architecture {c['arch']} at widths {', '.join(map(str, c['widths']))}, "
        f"{c['seeds']} seeds; {c['n_train']} train and {c['n_test']} test points of "
        f"{c['dataset']}; {c['steps']} steps of full-batch gradient descent on L = "
        f"{summary['loss']}. {'; '.join(said)}. What is expected of exponents is "
        "heuristic, and what Fort et al. 2020 report was not read in full, so that "
        f"nothing here gets a verdict. Measured on {summary['versions']['device']}."
    )
