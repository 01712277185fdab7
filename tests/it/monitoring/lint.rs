//! The rules of Grafana's dashboard-linter, for the dashboards as they are shipped.

use serde_json::Value;

use super::boards;
use super::panels::SCHEMA_VERSION;

/// A dashboard's file and what is in it. Of the boards, which `files` proves the files to be: the files may be those of
/// before a change while another test writes them anew.
pub fn dashboards() -> Vec<(String, Value)> {
    let mut found: Vec<_> = boards::all()
        .iter()
        .map(|(name, board)| (format!("{name}.json"), board.json()))
        .collect();
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found
}

/// The panels that show something.
pub fn panels(board: &Value) -> Vec<&Value> {
    let panels = board["panels"].as_array().unwrap();
    panels.iter().filter(|panel| panel["type"] != "row").collect()
}

/// The queries of a panel.
pub fn queries(panel: &Value) -> Vec<&str> {
    let targets = panel["targets"].as_array().unwrap();
    targets
        .iter()
        .map(|target| target["expr"].as_str().unwrap())
        .collect()
}

#[test]
fn dashboards_keep_the_rules() {
    let all = dashboards();
    assert_eq!(all.len(), 4);
    let mut uids: Vec<&str> = all
        .iter()
        .map(|(_, board)| board["uid"].as_str().unwrap())
        .collect();
    uids.dedup();
    assert_eq!(uids.len(), 4, "uids differ");
    let mut wrong = Vec::new();
    for (name, board) in &all {
        board_rules(board, &mut |what| wrong.push(format!("{name}: {what}")));
        for panel in panels(board) {
            let title = panel["title"].as_str().unwrap_or("?");
            panel_rules(panel, &mut |what| {
                wrong.push(format!("{name}: {title:?}: {what}"))
            });
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn board_rules(board: &Value, wrong: &mut dyn FnMut(String)) {
    let mut check = |ok: bool, what: &str| {
        if !ok {
            wrong(what.to_owned());
        }
    };
    check(board["schemaVersion"] == SCHEMA_VERSION, "schemaVersion");
    check(
        (39..=41).contains(&SCHEMA_VERSION),
        "a schema version that Grafana 10 to 13 read",
    );
    check(board["editable"] == false, "editable");
    check(!text(&board["description"]).is_empty(), "no description");
    check(board["tags"] == serde_json::json!(["larder"]), "tags");
    check(board["links"][0]["tags"][0] == "larder", "no links to the others");
    check(
        board["links"][0]["includeVars"] == true,
        "links lose the variables",
    );
    check(
        !board["annotations"]["list"].as_array().unwrap().is_empty(),
        "no annotations",
    );
    let variables = board["templating"]["list"].as_array().unwrap();
    let names: Vec<&str> = variables.iter().map(|variable| text(&variable["name"])).collect();
    check(names == ["datasource", "job", "instance"], "variables");
    check(
        variables[0]["type"] == "datasource" && variables[0]["query"] == "prometheus",
        "data source",
    );
    for variable in &variables[1..] {
        check(
            variable["refresh"] == 2,
            "a variable is not refreshed with the time range",
        );
        check(
            variable["includeAll"] == true && variable["multi"] == true,
            "a variable takes one value only",
        );
        check(variable["allValue"] == ".+", "allValue");
        check(
            variable["datasource"]["uid"] == "${datasource}",
            "a variable's data source",
        );
    }
    let mut ids: Vec<u64> = board["panels"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| p["id"].as_u64().unwrap())
        .collect();
    ids.dedup();
    check(
        ids.len() == board["panels"].as_array().unwrap().len(),
        "ids differ",
    );
    check(overlaps(board).is_none(), "panels overlap");
}

/// Two panels that share a place.
fn overlaps(board: &Value) -> Option<(String, String)> {
    let place = |panel: &Value| {
        let of = |key: &str| panel["gridPos"][key].as_u64().unwrap();
        (of("x"), of("y"), of("w"), of("h"))
    };
    let panels = board["panels"].as_array().unwrap();
    for (at, one) in panels.iter().enumerate() {
        let (x, y, w, h) = place(one);
        if x + w > 24 {
            return Some((one["title"].to_string(), "the edge".to_owned()));
        }
        for other in &panels[at + 1..] {
            let (ox, oy, ow, oh) = place(other);
            if x < ox + ow && ox < x + w && y < oy + oh && oy < y + h {
                return Some((one["title"].to_string(), other["title"].to_string()));
            }
        }
    }
    None
}

fn panel_rules(panel: &Value, wrong: &mut dyn FnMut(String)) {
    let mut check = |ok: bool, what: &str| {
        if !ok {
            wrong(what.to_owned());
        }
    };
    check(!text(&panel["title"]).is_empty(), "no title");
    let description = text(&panel["description"]);
    check(
        description.len() > 10 && description.ends_with('.'),
        "no description",
    );
    check(
        !text(&panel["fieldConfig"]["defaults"]["unit"]).is_empty(),
        "no unit",
    );
    check(panel["datasource"]["uid"] == "${datasource}", "data source");
    let targets = panel["targets"].as_array().unwrap();
    check(!targets.is_empty(), "no query");
    for target in targets {
        let expr = text(&target["expr"]);
        check(
            target["datasource"]["uid"] == "${datasource}",
            "a query's data source",
        );
        for (name, selector) in selectors(expr) {
            let chosen = selector.starts_with("job=~\"$job\",instance=~\"$instance\"");
            check(chosen, &format!("{name} is not of the chosen jobs and instances"));
            let before = expr.split(&format!("{name}{{")).next().unwrap_or_default();
            let rated = ["rate(", "increase(", "irate("]
                .iter()
                .any(|call| before.ends_with(call));
            let counts = ["_total", "_bucket", "_sum", "_count"]
                .iter()
                .any(|end| name.ends_with(end));
            check(
                !counts || rated,
                &format!("{name} is a counter without rate or increase"),
            );
        }
        let windows = expr.matches("rate(").count() + expr.matches("increase(").count();
        let intervals = expr.matches("[$__rate_interval]").count() + expr.matches("[$__range]").count();
        check(windows == intervals, &format!("a fixed window in {expr}"));
        check(
            expr.matches('(').count() == expr.matches(')').count(),
            "parentheses",
        );
        let buckets = expr.contains("_bucket{");
        check(
            !buckets || expr.contains("by (le"),
            &format!("buckets without le in {expr}"),
        );
    }
    let several = targets.len() > 1;
    check(
        !several
            || targets
                .iter()
                .all(|target| !text(&target["legendFormat"]).is_empty()),
        "no legend",
    );
}

/// The metrics of a query, each with what stands in its braces.
pub fn selectors(expr: &str) -> Vec<(&str, &str)> {
    let mut found = Vec::new();
    for (at, _) in expr.match_indices('{') {
        let start = expr[..at].rfind(|c: char| !c.is_ascii_alphanumeric() && !"_:".contains(c));
        let name = &expr[start.map_or(0, |start| start + 1)..at];
        let end = expr[at..].find('}').map_or(expr.len(), |end| at + end);
        found.push((name, &expr[at + 1..end]));
    }
    found
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[test]
fn the_rules_see_what_is_wrong() {
    let board = &dashboards()[0].1;
    let broken = |path: &str, to: Value| {
        let mut panel = panels(board)[0].clone();
        *panel.pointer_mut(path).unwrap() = to;
        let mut wrong = Vec::new();
        panel_rules(&panel, &mut |what| wrong.push(what));
        wrong
    };
    assert!(broken("/title", "fine".into()).is_empty());
    for (path, to) in [
        ("/title", ""),
        ("/description", ""),
        ("/fieldConfig/defaults/unit", ""),
        ("/datasource/uid", "prometheus"),
        (
            "/targets/0/expr",
            "larder_x_total{job=~\"$job\",instance=~\"$instance\"}",
        ),
        ("/targets/0/expr", "rate(larder_x_total{}[$__rate_interval])"),
        (
            "/targets/0/expr",
            "rate(larder_x_total{job=~\"$job\",instance=~\"$instance\"}[5m])",
        ),
        (
            "/targets/0/expr",
            "sum(rate(larder_x_bucket{job=~\"$job\",instance=~\"$instance\"}[$__rate_interval]))",
        ),
    ] {
        assert!(!broken(path, to.into()).is_empty(), "{path} {to}");
    }
    let mut overlapping = board.clone();
    overlapping["panels"][2]["gridPos"]["x"] = 0.into();
    assert!(overlaps(&overlapping).is_some());
    assert!(overlaps(board).is_none());
}
