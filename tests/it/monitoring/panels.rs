//! What a dashboard is made of, and the JSON that Grafana loads (classic, schema version 39: Grafana 10.2 and later).
//!
//! In a query `@` stands for the selector of the chosen jobs and instances, and `~` for the interval of rates.

use serde_json::{Value, json};

/// The version of Grafana's classic format.
pub const SCHEMA_VERSION: u64 = 39;

/// Columns of a dashboard.
const COLUMNS: u64 = 24;

/// One dashboard.
pub struct Board {
    /// Stable: links and bookmarks hold it.
    pub uid: &'static str,
    pub title: &'static str,
    pub description: &'static str,
    /// How often it loads anew.
    pub refresh: &'static str,
    /// The time that it shows at first.
    pub from: &'static str,
    pub rows: Vec<Row>,
}

/// Panels under one heading.
pub struct Row {
    pub title: &'static str,
    pub panels: Vec<Panel>,
}

/// How values are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One number.
    Stat,
    /// Lines over time.
    Lines,
    /// Areas on top of each other.
    Stack,
    /// Buckets of a histogram over time.
    Heatmap,
}

/// One panel.
pub struct Panel {
    pub kind: Kind,
    pub title: &'static str,
    /// Grafana's name of a unit.
    pub unit: &'static str,
    pub description: &'static str,
    pub width: u64,
    pub queries: Vec<Query>,
    /// Value and colour from which on it holds, of a number.
    pub steps: &'static [(f64, &'static str)],
    /// What 0 and 1 mean, of a number.
    pub words: Option<[&'static str; 2]>,
}

/// One query of a panel.
pub struct Query {
    /// PromQL, with `@` and `~`.
    pub expr: &'static str,
    pub legend: &'static str,
}

/// A number, an eighth of the width.
pub fn stat(title: &'static str, unit: &'static str, description: &'static str) -> Panel {
    panel(Kind::Stat, title, unit, description, 3)
}

/// Lines, a third of the width.
pub fn lines(title: &'static str, unit: &'static str, description: &'static str) -> Panel {
    panel(Kind::Lines, title, unit, description, 8)
}

/// Areas, a third of the width.
pub fn stack(title: &'static str, unit: &'static str, description: &'static str) -> Panel {
    panel(Kind::Stack, title, unit, description, 8)
}

/// A heat map, a third of the width.
pub fn heatmap(title: &'static str, unit: &'static str, description: &'static str) -> Panel {
    panel(Kind::Heatmap, title, unit, description, 8)
}

fn panel(
    kind: Kind,
    title: &'static str,
    unit: &'static str,
    description: &'static str,
    width: u64,
) -> Panel {
    Panel {
        kind,
        title,
        unit,
        description,
        width,
        queries: Vec::new(),
        steps: &[],
        words: None,
    }
}

impl Panel {
    /// Adds a query; in the legend `{{label}}` is the value of a label.
    pub fn query(mut self, legend: &'static str, expr: &'static str) -> Self {
        self.queries.push(Query { expr, legend });
        self
    }

    /// Another width, of 24.
    pub fn wide(self, width: u64) -> Self {
        Panel { width, ..self }
    }

    /// Colours of a number.
    pub fn steps(self, steps: &'static [(f64, &'static str)]) -> Self {
        Panel { steps, ..self }
    }

    /// Words for 0 and 1.
    pub fn words(self, zero: &'static str, one: &'static str) -> Self {
        Panel {
            words: Some([zero, one]),
            ..self
        }
    }

    fn height(&self) -> u64 {
        match self.kind {
            Kind::Stat => 4,
            _ => 8,
        }
    }

    fn json(&self, id: u64, x: u64, y: u64) -> Value {
        let targets: Vec<Value> = ('A'..='Z')
            .zip(&self.queries)
            .map(|(letter, query)| self.target(letter, query))
            .collect();
        let (kind, options) = match self.kind {
            Kind::Stat => (
                "stat",
                json!({
                    "colorMode": "value", "graphMode": "area", "justifyMode": "auto", "textMode": "auto",
                    "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": false},
                }),
            ),
            Kind::Lines | Kind::Stack => (
                "timeseries",
                json!({
                    "legend": {"displayMode": "list", "placement": "bottom", "showLegend": true, "calcs": []},
                    "tooltip": {"mode": "multi", "sort": "desc"},
                }),
            ),
            Kind::Heatmap => (
                "heatmap",
                json!({
                    "calculate": false,
                    "color": {"mode": "scheme", "scheme": "Blues", "steps": 64},
                    "yAxis": {"unit": self.unit},
                    "tooltip": {"mode": "single", "yHistogram": false},
                    "legend": {"show": true},
                }),
            ),
        };
        json!({
            "id": id,
            "type": kind,
            "title": self.title,
            "description": self.description,
            "datasource": datasource(),
            "gridPos": {"x": x, "y": y, "w": self.width, "h": self.height()},
            "fieldConfig": {"defaults": self.defaults(), "overrides": []},
            "options": options,
            "targets": targets,
        })
    }

    fn target(&self, letter: char, query: &Query) -> Value {
        json!({
            "datasource": datasource(),
            "editorMode": "code",
            "expr": expanded(query.expr),
            "legendFormat": query.legend,
            "range": true,
            "format": if self.kind == Kind::Heatmap { "heatmap" } else { "time_series" },
            "refId": letter.to_string(),
        })
    }

    fn defaults(&self) -> Value {
        // A first step without a bound is the colour of everything below the next.
        let (base, steps) = match self.steps {
            [(f64::MIN, colour), rest @ ..] => (*colour, rest),
            steps => ("green", steps),
        };
        let steps: Vec<Value> = std::iter::once(json!({"value": null, "color": base}))
            .chain(
                steps
                    .iter()
                    .map(|(value, colour)| json!({"value": value, "color": colour})),
            )
            .collect();
        let stacking = if self.kind == Kind::Stack {
            "normal"
        } else {
            "none"
        };
        let mut defaults = json!({
            "unit": self.unit,
            "thresholds": {"mode": "absolute", "steps": steps},
        });
        match self.kind {
            Kind::Stat => defaults["color"] = json!({"mode": "thresholds"}),
            Kind::Heatmap => {}
            Kind::Lines | Kind::Stack => {
                defaults["min"] = json!(0);
                defaults["color"] = json!({"mode": "palette-classic"});
                defaults["custom"] = json!({
                    "drawStyle": "line", "lineWidth": 1, "showPoints": "never", "spanNulls": false,
                    "fillOpacity": if self.kind == Kind::Stack { 40 } else { 10 },
                    "stacking": {"mode": stacking, "group": "A"},
                });
            }
        }
        if let Some([zero, one]) = self.words {
            defaults["mappings"] = json!([{"type": "value", "options": {
                "0": {"text": zero, "index": 0}, "1": {"text": one, "index": 1},
            }}]);
        }
        defaults
    }
}

impl Board {
    /// What Grafana loads.
    pub fn json(&self) -> Value {
        let mut panels = Vec::new();
        let (mut id, mut y) = (1, 0);
        for row in &self.rows {
            panels.push(json!({
                "id": id, "type": "row", "title": row.title, "collapsed": false, "panels": [],
                "gridPos": {"x": 0, "y": y, "w": COLUMNS, "h": 1},
            }));
            (id, y) = (id + 1, y + 1);
            let (mut x, mut height) = (0, 0);
            for panel in &row.panels {
                if x + panel.width > COLUMNS {
                    (x, y, height) = (0, y + height, 0);
                }
                panels.push(panel.json(id, x, y));
                id += 1;
                x += panel.width;
                height = height.max(panel.height());
            }
            y += height;
        }
        json!({
            "uid": self.uid,
            "title": self.title,
            "description": self.description,
            "tags": ["larder"],
            "schemaVersion": SCHEMA_VERSION,
            "version": 1,
            "editable": false,
            "graphTooltip": 1,
            "timezone": "browser",
            "refresh": self.refresh,
            "time": {"from": self.from, "to": "now"},
            "links": [{
                "type": "dashboards", "title": "Larder", "tags": ["larder"], "asDropdown": false,
                "includeVars": true, "keepTime": true, "icon": "external link", "targetBlank": false,
            }],
            "annotations": {"list": annotations()},
            "templating": {"list": variables()},
            "panels": panels,
        })
    }
}

/// A query as it is sent.
pub fn expanded(expr: &str) -> String {
    expr.replace('@', "job=~\"$job\",instance=~\"$instance\"")
        .replace("[~]", "[$__rate_interval]")
}

fn datasource() -> Value {
    json!({"type": "prometheus", "uid": "${datasource}"})
}

fn annotations() -> Value {
    json!([
        {
            "name": "Starts", "enable": true, "iconColor": "blue", "datasource": datasource(),
            "expr": expanded("process_start_time_seconds{@} * 1000"),
            "useValueForTime": true, "titleFormat": "{{instance}} started",
        },
        {
            "name": "Settings", "enable": true, "iconColor": "purple", "datasource": datasource(),
            "expr": expanded("larder_config_info{@} unless larder_config_info{@} offset 2m"),
            "useValueForTime": false, "titleFormat": "{{instance}} has other settings",
        },
    ])
}

fn variables() -> Value {
    let query = |name: &str, label: &str, query: &str| {
        json!({
            "name": name, "label": label, "type": "query", "datasource": datasource(),
            "query": {"query": query, "refId": "StandardVariableQuery"}, "definition": query,
            "refresh": 2, "sort": 1, "includeAll": true, "multi": true, "allValue": ".+",
            "current": {"selected": true, "text": ["All"], "value": ["$__all"]},
        })
    };
    json!([
        {
            "name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus",
            "refresh": 1, "includeAll": false, "multi": false, "current": {},
        },
        query("job", "Job", "label_values(larder_build_info, job)"),
        query("instance", "Instance", "label_values(larder_build_info{job=~\"$job\"}, instance)"),
    ])
}
