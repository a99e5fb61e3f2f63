"""What panels are made of: queries, the few kinds of panels there are, colours, variables, annotations.

Owns: how things look and which Prometheus they ask. Must not know: any metric but those of variables and annotations.
Invariants: each panel says in a sentence what to see in it; a side has the same colour everywhere; every query is limited to
the job and the instances chosen above.
"""

from __future__ import annotations

from typing import Final

from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.builders import heatmap, prometheus, stat, statetimeline, table, timeseries
from grafana_foundation_sdk.models import common
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models import heatmap as heatmap_models
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

SOURCE: Final = models.DataSourceRef(type_val="prometheus", uid="${datasource}")
HERE: Final = 'job=~"$job", instance=~"$instance"'
"""In every selector."""
ROUTED: Final = f'{HERE}, route=~"$route"'
SIDES: Final = 'backend=~"legacy|domain"'
WINDOW: Final = "$__rate_interval"

GOOD, BAD, WARN, PLAIN = "green", "red", "orange", "text"
_SIDE_COLOURS: Final = {"legacy": "blue", "domain": "orange", "asked": "purple"}


def query(expression: str, legend: str = "__auto", *, exemplar: bool = False) -> prometheus.Dataquery:
    """Over the time shown."""
    asked = prometheus.Dataquery().expr(expression).legend_format(legend).datasource(SOURCE).range()
    return asked.exemplar(exemplar=True) if exemplar else asked


def now(expression: str, legend: str = "__auto") -> prometheus.Dataquery:
    """At the end of the time shown only."""
    return prometheus.Dataquery().expr(expression).legend_format(legend).datasource(SOURCE).instant()


def steps(*given: tuple[float | None, str]) -> builders.ThresholdsConfig:
    """Colours from a value on; the first has no value."""
    config = builders.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE)
    return config.steps([models.Threshold(value=value, color=colour) for value, colour in given])


def words(given: dict[str, tuple[str, str]]) -> list[models.ValueMapping]:
    """A word and a colour instead of a value."""
    options = {
        value: models.ValueMappingResult(text=text, color=colour, index=index)
        for index, (value, (text, colour)) in enumerate(given.items())
    }
    return [models.ValueMap(options=options)]


def figure(title: str, description: str, unit: str, *queries: prometheus.Dataquery, span: int = 4) -> stat.Panel:
    """One number, as large as there is room."""
    panel = (
        stat.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .unit(unit)
        .height(4)
        .span(span)
        .color_mode(common.BigValueColorMode.BACKGROUND)
        .graph_mode(common.BigValueGraphMode.NONE)
        .reduce_options(common_builders.ReduceDataOptions().calcs(["lastNotNull"]))
        .thresholds(steps((None, PLAIN)))
    )
    for asked in queries:
        panel.with_target(asked)
    return panel


def lines(title: str, description: str, unit: str, *queries: prometheus.Dataquery, span: int = 8) -> timeseries.Panel:
    """Lines over time."""
    panel = (
        timeseries.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .unit(unit)
        .min(0)
        .height(8)
        .span(span)
        .fill_opacity(8)
        .show_points(common.VisibilityMode.NEVER)
        .span_nulls(span_nulls=False)
        .legend(
            common_builders.VizLegendOptions()
            .display_mode(common.LegendDisplayMode.LIST)
            .placement(common.LegendPlacement.BOTTOM)
            .show_legend(show_legend=True)
        )
        .tooltip(common_builders.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI).sort(common.SortOrder.DESCENDING))
    )
    for asked in queries:
        panel.with_target(asked)
    for name, colour in _SIDE_COLOURS.items():
        fixed = models.DynamicConfigValue(id_val="color", value={"mode": "fixed", "fixedColor": colour})
        panel.override_by_regexp(f"/^{name}\\b/", [fixed])
    return panel


def stacked(panel: timeseries.Panel) -> timeseries.Panel:
    """The same with its lines on top of each other."""
    return panel.fill_opacity(30).stacking(common_builders.StackingConfig().mode(common.StackingMode.NORMAL).group("A"))


def limited(panel: timeseries.Panel, limit: float) -> timeseries.Panel:
    """The same with a dashed line where it becomes too much."""
    style = common_builders.GraphThresholdsStyleConfig().mode(common.GraphThresholdsStyleMode.DASHED)
    return panel.thresholds(steps((None, GOOD), (limit, BAD))).thresholds_style(style)


def heat(title: str, description: str, asked: prometheus.Dataquery, *, scheme: str, span: int = 12) -> heatmap.Panel:
    """Buckets of a histogram over time."""
    return (
        heatmap.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .height(9)
        .span(span)
        .calculate(calculate=False)
        .cell_gap(1)
        .color(
            heatmap.HeatmapColorOptions()
            .mode(heatmap_models.HeatmapColorMode.SCHEME)
            .scheme(scheme)
            .scale(heatmap_models.HeatmapColorScale.EXPONENTIAL)
            .exponent(0.5)
            .steps(64)
        )
        .y_axis(heatmap.YAxisConfig().unit("s").axis_placement(common.AxisPlacement.LEFT))
        .cell_values(heatmap.CellValues().unit("reqps"))
        .filter_values(heatmap.FilterValueRange().le(1e-9))
        .exemplars_color("rgba(255,0,255,0.7)")
        .mode(common.TooltipDisplayMode.SINGLE)
        .show_y_histogram()
        .with_target(asked.format(PromQueryFormat.HEATMAP))
    )


def states(
    title: str, description: str, mapped: list[models.ValueMapping], *queries: prometheus.Dataquery, span: int = 12
) -> statetimeline.Panel:
    """Which state from when to when."""
    panel = (
        statetimeline.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .height(8)
        .span(span)
        .mappings(mapped)
        .merge_values(merge_values=True)
        .show_value(common.VisibilityMode.AUTO)
        .fill_opacity(80)
        .line_width(0)
        .color_scheme(builders.FieldColor().mode(models.FieldColorModeId.THRESHOLDS))
        .thresholds(steps((None, PLAIN)))
    )
    for asked in queries:
        panel.with_target(asked)
    return panel


def rows(title: str, description: str, *queries: prometheus.Dataquery, names: dict[str, str], span: int = 8) -> table.Panel:
    """A table of labels and values now, columns renamed and put in order by `names`."""
    panel = table.Panel().title(title).description(description).datasource(SOURCE).height(8).span(span)
    for asked in queries:
        panel.with_target(asked.format(PromQueryFormat.TABLE))
    panel.with_transformation(models.DataTransformerConfig(id_val="merge", options={}))
    hidden = {"Time": True}
    order = {name: index for index, name in enumerate(names)}
    options = {"excludeByName": hidden, "indexByName": order, "renameByName": names}
    return panel.with_transformation(models.DataTransformerConfig(id_val="organize", options=options))


def variables() -> list[builders.QueryVariable | builders.DatasourceVariable]:
    """Which Prometheus, which job, which splitters, which routes."""

    def choice(name: str, label: str, asked: str) -> builders.QueryVariable:
        return (
            builders.QueryVariable(name)
            .label(label)
            .datasource(SOURCE)
            .query({"query": asked, "refId": f"variable-{name}"})
            .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
            .sort(models.VariableSort.ALPHABETICAL_ASC)
        )

    everything = models.VariableOption(selected=True, text="All", value="$__all")
    return [
        builders.DatasourceVariable("datasource").label("Prometheus").type("prometheus"),
        choice("job", "job", "label_values(splitter_build_info, job)"),
        choice("instance", "splitter", 'label_values(splitter_build_info{job=~"$job"}, instance)')
        .multi(multi=True)
        .include_all(include_all=True)
        .all_value(".*")
        .current(everything),
        choice("route", "route", 'label_values(splitter_rollout_percent{job=~"$job"}, route)')
        .multi(multi=True)
        .include_all(include_all=True)
        .all_value(".*")
        .current(everything),
    ]


EVENTS: Final = (
    # name, colour, expression, title made of the labels of its series
    ("Percent", "purple", f'count_values by (route) ("percent", splitter_rollout_percent{{{ROUTED}}} and '
     f"changes(splitter_rollout_percent{{{ROUTED}}}[{WINDOW}]) > 0)", "{{route}}: {{percent}} %"),
    ("Rollback", "red", f"sum by (by) (increase(splitter_rollbacks_total{{{HERE}}}[{WINDOW}])) > 0",
     "rolled back by {{by}}"),
    ("Resume", "green", f"max(changes(splitter_rollback_active{{{HERE}}}[{WINDOW}])) > 0 unless "
     f"max(splitter_rollback_active{{{HERE}}}) == 1", "not rolled back any more"),
    ("Plan", "blue", f'count_values("stage", (splitter_plan_step{{{HERE}}} >= 0) + 1 and '
     f"changes(splitter_plan_step{{{HERE}}}[{WINDOW}]) > 0)", "plan: stage {{stage}}"),
    ("Reload", "yellow", f"sum by (outcome) (increase(splitter_config_reloads_total{{{HERE}}}[{WINDOW}])) > 0",
     "configuration read: {{outcome}}"),
    ("Start", "text", f"changes(process_start_time_seconds{{{HERE}}}[{WINDOW}]) > 0", "{{instance}} started"),
    ("Worker", "orange", f"sum by (instance, cause) (increase(splitter_worker_restarts_total{{{HERE}}}[{WINDOW}])) > 0",
     "a worker of {{instance}} was replaced: {{cause}}"),
    ("Alert", "red", 'count by (alertname) (ALERTS{alertname=~"Splitter.+", alertstate="firing", job=~"$job"})',
     "{{alertname}}"),
)  # fmt: skip
"""What changed: marks on every graph of both dashboards."""


def marks() -> list[builders.AnnotationQuery]:
    return [
        builders.AnnotationQuery().name(name).datasource(SOURCE).enable(enable=True).icon_color(colour).expr(expression)
        for name, colour, expression, _ in EVENTS
    ]
