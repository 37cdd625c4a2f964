"""SLIs from OpenSLO, Sloth and Pyrra: written by us after their public schemas; what is wrong says where."""

import json

import httpx2
import promql_parser as promql
import pytest
import yaml
from typer.testing import CliRunner

from cli.asking import Asking
from cli.imports import ImportProblem, kinds, read
from cli.main import app
from shared.contracts import read_policy

OPENSLO = """
apiVersion: openslo/v1
kind: SLI
metadata: {name: checkout-errors}
spec:
  ratioMetric:
    counter: true
    bad:
      metricSource: {type: Prometheus, spec: {query: 'http_requests_total{job="checkout",code=~"5.."}'}}
    total:
      metricSource: {type: Prometheus, spec: {query: 'http_requests_total{job="checkout"}'}}
---
apiVersion: openslo/v1
kind: SLO
metadata: {name: checkout, displayName: Checkout works}
spec:
  service: shop
  indicatorRef: checkout-errors
  objectives: [{target: 0.99}]
---
apiVersion: openslo/v1
kind: SLO
metadata: {name: Queue Length}
spec:
  indicator:
    metadata: {name: queue}
    spec:
      thresholdMetric:
        metricSource:
          metricSourceRef: thanos
          spec: {query: max(queue_length)}
  objectives: [{op: lte, value: 10, target: 0.95}]
---
apiVersion: openslo/v1
kind: Service
metadata: {name: shop}
spec: {description: a shop}
"""

ALPHA = """
apiVersion: openslo/v1alpha
kind: SLO
metadata:
  name: latency
  displayName: Latency
spec:
  service: shop
  budgetingMethod: Occurrences
  objectives:
    - ratioMetrics:
        good: {source: prometheus, query: 'sum(rate(quick_bucket{le="0.4"}[{{.window}}]))'}
        total: {source: prometheus, query: 'sum(rate(quick_count[{{.window}}]))'}
      target: 0.99
    - ratioMetrics:
        incremental: true
        good: {query: good_total}
        total: {query: all_total}
      target: 0.999
"""
ALPHA_THRESHOLD = """
apiVersion: openslo/v1alpha
kind: SLO
metadata: {name: room}
spec:
  indicator: {thresholdMetric: {source: prometheus, query: min(free)}}
  objectives: [{op: gte, value: 10, target: 0.95}]
"""

SLOTH = """
version: "prometheus/v1"
service: "shop"
slos:
  - name: "availability"
    objective: 99.9
    description: "Requests that are answered"
    sli:
      events:
        error_query: sum(rate(http_requests_total{job="shop",code=~"5.."}[{{.window}}]))
        total_query: sum(rate(http_requests_total{job="shop"}[{{ .window }}]))
    alerting: {page_alert: {disable: true}}
  - name: "freshness"
    objective: 99
    sli:
      raw:
        error_ratio_query: |
          avg_over_time(
            stale:ratio[{{.window}}]
          )
"""

SLOTH_RESOURCE = """
apiVersion: sloth.slok.dev/v1
kind: PrometheusServiceLevel
metadata: {name: shop}
spec:
  service: shop
  slos:
    - name: latency
      objective: 99
      sli: {events: {errorQuery: 'sum(rate(slow[{{.window}}]))', totalQuery: 'sum(rate(all[{{.window}}]))'}}
"""

PYRRA = """
apiVersion: pyrra.dev/v1alpha1
kind: ServiceLevelObjective
metadata: {name: api-%s, namespace: monitoring}
spec:
  target: "99"
  window: 2w
  indicator:
    %s
"""


def pyrra(name: str, indicator: str) -> str:
    return PYRRA % (name, indicator)


BY_PYRRA = {
    "ratio: {errors: {metric: 'http{code=~\"5..\"}'}, total: {metric: http}, grouping: [route]}": (
        '((sum(rate(http{code=~"5.."}[5m]))) or vector(0)) / (sum(rate(http[5m])))'
    ),
    "latency: {success: {metric: 'h_bucket{le=\"0.1\"}'}, total: {metric: h_count}}": (
        '1 - sum(rate(h_bucket{le="0.1"}[5m])) / sum(rate(h_count[5m]))'
    ),
    "latencyNative: {latency: 1s500ms, total: {metric: h}}": "1 - histogram_fraction(0, 1.5, sum(rate(h[5m])))",
    "bool_gauge: {metric: 'up{job=\"api\"}'}": '1 - avg(avg_over_time(up{job="api"}[5m]))',
}


def test_openslo_gives_a_ratio_of_what_fails_and_a_threshold() -> None:
    ratio, threshold = read(OPENSLO, "main")
    assert ratio["id"] == "checkout" and ratio["title"] == "Checkout works" and ratio["unit"] == "ratio"
    assert ratio["query"] == (
        '((sum(rate(http_requests_total{job="checkout",code=~"5.."}[5m]))) or vector(0))'
        ' / (sum(rate(http_requests_total{job="checkout"}[5m])))'
    )
    assert (threshold["id"], threshold["query"]) == ("queue-length", "max(queue_length)")
    assert threshold["direction"] == "higher_is_worse"


def test_the_alpha_of_openslo_gives_one_of_each_objective_as_sloth_reads_it() -> None:
    first, second = read(ALPHA, "main")
    assert (first["id"], second["id"], second["title"]) == ("latency-1", "latency-2", "Latency 2")
    assert first["query"] == '1 - (sum(rate(quick_bucket{le="0.4"}[5m]))) / (sum(rate(quick_count[5m])))'
    assert second["query"] == "1 - (sum(rate(good_total[5m]))) / (sum(rate(all_total[5m])))"
    (only,) = read("".join(ALPHA.partition("    - ratioMetrics:\n        incremental")[:1]), "main")
    assert (only["id"], only["title"]) == ("latency", "Latency")
    (depth,) = read(ALPHA_THRESHOLD, "main")
    assert (depth["query"], depth["unit"], depth["direction"]) == ("min(free)", "", "lower_is_worse")
    with pytest.raises(
        ImportProblem, match=r"line 13, spec.objectives\[0\].ratioMetrics.total.source: only metrics of Prom"
    ):
        read(
            ALPHA.replace(
                "source: prometheus, query: 'sum(rate(quick_count", "source: datadog, query: 'sum(rate(quick_count"
            ),
            "main",
        )


def test_sloth_gives_one_of_each_slo_with_a_window_of_its_own() -> None:
    availability, freshness = read(SLOTH, "thanos")
    assert availability["id"] == "shop-availability" and availability["source"] == "thanos"
    assert availability["query"].count("[5m]") == 2 and "{{" not in availability["query"]
    assert freshness["query"] == "avg_over_time( stale:ratio[5m] )"
    (latency,) = read(SLOTH_RESOURCE, "main")
    assert latency["query"] == "((sum(rate(slow[5m]))) or vector(0)) / (sum(rate(all[5m])))"
    windows = "apiVersion: sloth.slok.dev/v1\nkind: AlertWindows\nspec: {sloPeriod: 7d}\n---\n"
    assert read(windows + SLOTH_RESOURCE, "main") == [latency]


@pytest.mark.parametrize("indicator", BY_PYRRA)
def test_pyrra_gives_what_fails_of_all_in_one_series(indicator: str) -> None:
    (found,) = read(pyrra("x", indicator), "main")
    assert found["query"] == BY_PYRRA[indicator]


def test_what_is_imported_is_a_policys_and_decides_nothing() -> None:
    found = [*read(OPENSLO, "main"), *read(SLOTH, "main")]
    found += [sli for i, each in enumerate(BY_PYRRA) for sli in read(pyrra(str(i), each), "main")]
    policy = read_policy({"id": "shop", "name": "Shop", "enforcement": "observe", "slis": found})
    assert len(policy.slis) == 8 and all(sli.shadow for sli in policy.slis)
    for sli in policy.slis:
        promql.parse(sli.query)
    assert kinds() == ["openslo", "pyrra", "sloth"]


WRONG = {
    "a: [": "line 1: this is not YAML",
    "- a": "line 1, the document: a mapping is needed here",
    "kind: Deployment": "line 1, the document: this is none of OpenSLO, Pyrra, Sloth",
    "apiVersion: openslo/v2alpha\nkind: SLO": "line 1, apiVersion: only openslo/v1 and openslo/v1alpha are known",
    OPENSLO.replace("indicatorRef: checkout-errors", "indicatorRef: other"): "line 18, spec.indicatorRef: there is no SLI",
    OPENSLO.replace("max(queue_length)", "max("): "line 31, spec.indicator.spec.thresholdMetric.metricSource.spec.query: this",
    OPENSLO.replace("type: Prometheus", "type: Datadog", 1): "line 9, spec.ratioMetric.bad.metricSource.type: only metrics",
    OPENSLO.replace("Queue Length", "checkout"): "two SLIs would be called checkout",
    OPENSLO.replace("name: Queue Length", "name: '!'"): "has no letter or digit",
    SLOTH.replace("        error_query:", "        errors:"): "line 9, slos[0].sli.events: error_query is missing",
    SLOTH.replace("      raw:", "      plugin:"): "line 15, slos[1].sli: events or raw is needed",
    SLOTH.replace("slos:", "slos: 3\nx:"): "line 4, slos: a list is needed here",
    pyrra("x", "ratio: {errors: {metric: sum(a)}, total: {metric: b}}"): "spec.indicator.ratio.errors.metric: a",
    pyrra("x", "latencyNative: {latency: soon, total: {metric: h}}"): "'soon' is no duration",
    pyrra("x", "other: {}"): "line 8, spec.indicator: ratio, latency, latencyNative or bool_gauge",
    "apiVersion: pyrra.dev/v1alpha1\nkind: ServiceLevelObjective\nmetadata: 3": "line 3, metadata: a mapping is needed here",
}  # fmt: skip


@pytest.mark.parametrize("text", WRONG)
def test_what_is_wrong_says_on_which_line_and_in_which_field(text: str) -> None:
    with pytest.raises(ImportProblem) as problem:
        read(text, "main")
    assert WRONG[text] in str(problem.value)


def test_the_command_prints_slis_for_a_policy_or_one_sentence(tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.mktemp("slo") / "slo.yaml"
    file.write_text(SLOTH)
    runner = CliRunner()
    printed = runner.invoke(app, ["sli", "import", str(file), "--source", "other"])
    assert printed.exit_code == 0 and yaml.safe_load(printed.stdout)["slis"] == read(SLOTH, "other")
    file.write_text("kind: Deployment")
    refused = runner.invoke(app, ["sli", "import", str(file)])
    assert refused.exit_code == 1 and refused.stdout == "" and "line 1" in refused.stderr.replace("\n", " ")
    keyless = runner.invoke(app, ["sli", "check"], env={"DAYMARK_KEY": ""})
    assert keyless.exit_code == 1 and "DAYMARK_KEY" in keyless.stderr


@pytest.mark.parametrize(("result", "code"), [("fine", 0), ("several", 3)])
def test_the_check_says_what_each_query_brought_and_ends_with_3_when_one_is_not_fine(
    result: str, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def answer(self: Asking, path: str, **query: object) -> httpx2.Response:
        asked.append(path)
        if path == "/intake/v1/products":
            return httpx2.Response(200, json={"items": [{"id": "epl"}]})
        one = {"sli": "p99", "result": result, "sentence": "so it is"}
        return httpx2.Response(200, json={"product": "epl", "is_fine": result == "fine", "slis": [one]})

    monkeypatch.setattr(Asking, "get", answer)
    runner = CliRunner()
    said = runner.invoke(app, ["sli", "check", "--key", "k"])
    assert said.exit_code == code and said.stdout == f"epl  p99  {result}: so it is\n"
    assert asked == ["/intake/v1/products", "/snapshotter/v1/products/epl/sli-check"]
    as_json = runner.invoke(app, ["sli", "check", "epl", "--key", "k", "--json"])
    assert as_json.exit_code == code and json.loads(as_json.stdout)[0]["slis"][0]["sli"] == "p99"
