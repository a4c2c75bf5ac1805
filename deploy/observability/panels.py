"""The few kinds of panels that our dashboards are made of, so that all of them look alike."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from grafana_foundation_sdk.builders import common, heatmap, prometheus, stat, statetimeline, table, timeseries
from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import (
    BigValueColorMode,
    BigValueGraphMode,
    LegendDisplayMode,
    LegendPlacement,
    StackingMode,
    TooltipDisplayMode,
    VisibilityMode,
)
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DashboardLinkType,
    DataSourceRef,
    DynamicConfigValue,
    FieldColorModeId,
    Threshold,
    ThresholdsMode,
    VariableOption,
    VariableRefresh,
    VariableSort,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
TAG = "fraudstream"

Queries = Mapping[str, str]
"""Expressions by legend; ``{{label}}`` in a legend stands for the label's value."""

Builder = timeseries.Panel | stat.Panel | table.Panel | statetimeline.Panel | heatmap.Panel
"""What the functions below return: Grafana's panels share methods, but no class."""


@dataclass(frozen=True, slots=True)
class Page:
    """One dashboard: rows of panels, and the variables (name to the query of its values) that narrow them."""

    uid: str
    title: str
    description: str
    variables: Mapping[str, str]
    rows: Mapping[str, Sequence[Builder]] = field(default_factory=dict)


def graph(
    title: str, description: str, queries: Queries, unit: str = "short", *, width: int = 12, stacked: bool = False
) -> timeseries.Panel:
    """Lines over time; ``width`` is in 24ths of the page. Units are Grafana's names of them."""
    panel = (
        timeseries.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .unit(unit)
        .min(0)
        .height(8)
        .span(width)
        .line_width(1)
        .fill_opacity(40 if stacked else 8)
        .show_points(VisibilityMode.NEVER)
        .legend(
            common.VizLegendOptions()
            .display_mode(LegendDisplayMode.TABLE)
            .placement(LegendPlacement.BOTTOM)
            .calcs(["lastNotNull", "max"])
        )
        .tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI))
    )
    if stacked:
        panel.stacking(common.StackingConfig().mode(StackingMode.NORMAL))
    for legend, expression in queries.items():
        panel.with_target(_query(expression, legend))
    return panel


def number(
    title: str, description: str, expression: str, unit: str = "short", *, bad_from: float | None = None, width: int = 4
) -> stat.Panel:
    """One figure of now, with its course behind it; red from ``bad_from`` on."""
    steps = [Threshold(value=None, color="green")]
    if bad_from is not None:
        steps.append(Threshold(value=bad_from, color="red"))
    return (
        stat.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .unit(unit)
        .height(4)
        .span(width)
        .graph_mode(BigValueGraphMode.AREA)
        .color_mode(BigValueColorMode.VALUE)
        .thresholds(build.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps))
        .with_target(_query(expression, ""))
    )


def listing(title: str, description: str, expression: str, *, width: int = 12) -> table.Panel:
    """The series of now as rows, a column for each label."""
    query = _query(expression, "").instant().format(PromQueryFormat.TABLE)
    return (
        table.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .height(8)
        .span(width)
        .filterable(True)
        .override_by_name("Time", [_hidden()])
        .with_target(query)
    )


def states(
    title: str, description: str, queries: Queries, colors: Mapping[float, str], *, width: int = 12
) -> statetimeline.Panel:
    """A bar for each series, coloured by its value: each colour from its value on."""
    lowest, *others = sorted(colors)
    steps = [Threshold(value=None, color=colors[lowest]), *(Threshold(value=at, color=colors[at]) for at in others)]
    panel = (
        statetimeline.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .height(8)
        .span(width)
        .show_value(VisibilityMode.NEVER)
        .color_scheme(build.FieldColor().mode(FieldColorModeId.THRESHOLDS))
        .thresholds(build.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps))
    )
    for legend, expression in queries.items():
        panel.with_target(_query(expression, legend))
    return panel


def buckets(title: str, description: str, expression: str, *, width: int = 12) -> heatmap.Panel:
    """A histogram over time; the expression gives the rate of each ``le``."""
    return (
        heatmap.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .height(8)
        .span(width)
        .with_target(_query(expression, "{{le}}").format(PromQueryFormat.HEATMAP))
    )


def to_json(page: Page) -> str:
    """The page as a file for Grafana, with links to the others."""
    return JSONEncoder(sort_keys=True, indent=2).encode(_dashboard(page).build()) + "\n"


def _dashboard(page: Page) -> build.Dashboard:
    made = (
        build.Dashboard(page.title)
        .uid(page.uid)
        .description(page.description)
        .tags([TAG])
        .readonly()
        .refresh("30s")
        .time("now-6h", "now")
        .timezone("browser")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .link(
            build.DashboardLink("fraudstream")
            .type(DashboardLinkType.DASHBOARDS)
            .tags([TAG])
            .include_vars(True)
            .keep_time(True)
        )
        .with_variable(build.DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
    )
    for name, query in page.variables.items():
        made.with_variable(_variable(name, query))
    for title, panels in page.rows.items():
        made.with_row(build.Row(title))
        for panel in panels:
            made.with_panel(panel)
    return made


def _query(expression: str, legend: str) -> prometheus.Dataquery:
    return prometheus.Dataquery().datasource(SOURCE).expr(expression).legend_format(legend or "__auto")


def _variable(name: str, query: str) -> build.QueryVariable:
    return (
        build.QueryVariable(name)
        .datasource(SOURCE)
        .query(query)
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".+")
        .current(VariableOption(selected=True, text="All", value="$__all"))
    )


def _hidden() -> DynamicConfigValue:
    return DynamicConfigValue(id_val="custom.hidden", value=True)
