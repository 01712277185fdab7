//! A picture of the overview, drawn from Prometheus' answers: no Grafana can be had where the tests run. With
//! `LARDER_PICTURE=SECONDS` the proof's traffic lasts so long and `docs/overview.svg` is drawn anew.

use std::fmt::Write;
use std::fs;

use super::boards;
use super::files::repository;
use super::panels::{Kind, Panel, expanded};
use super::prometheus::{Prometheus, Series};

/// Pixels of a column and of a unit of height.
const CELL: (f64, f64) = (50.0, 30.0);
const GAP: f64 = 4.0;
/// Values of a line at most.
const VALUES: u64 = 120;
/// Lines of a panel at most: the largest.
const LINES: usize = 8;

const COLOURS: [&str; LINES] = [
    "#73bf69", "#f2cc0c", "#5794f2", "#ff780a", "#f2495c", "#b877d9", "#8ab8ff", "#96d98d",
];

/// Draws where the environment asks for it.
pub fn draw_if_wanted(prometheus: &Prometheus, seconds: u64) {
    if std::env::var_os("LARDER_PICTURE").is_some() {
        fs::write(repository("docs/overview.svg"), overview(prometheus, seconds)).unwrap();
    }
}

fn overview(prometheus: &Prometheus, seconds: u64) -> String {
    let boards = boards::all();
    let board = &boards[0].1;
    let mut body = String::new();
    let mut y = 40.0;
    for row in &board.rows {
        let _ = write!(
            body,
            "<text x=\"12\" y=\"{}\" class=\"row\">{}</text>",
            y + 18.0,
            escaped(row.title)
        );
        y += 28.0;
        let (mut x, mut height) = (0.0, 0.0_f64);
        for panel in &row.panels {
            let width = panel.width as f64 * CELL.0;
            if x + width > 24.0 * CELL.0 {
                (x, y, height) = (0.0, y + height, 0.0);
            }
            let tall = if panel.kind == Kind::Stat { 3.0 } else { 7.0 } * CELL.1;
            let place = Place {
                x: x + GAP,
                y: y + GAP,
                w: width - 2.0 * GAP,
                h: tall - 2.0 * GAP,
            };
            body += &drawn(panel, place, &asked(prometheus, panel, seconds), seconds);
            x += width;
            height = height.max(tall);
        }
        y += height + 4.0;
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 1200 {h:.0}\" width=\"1200\" height=\"{h:.0}\" \
         font-family=\"Inter, system-ui, 'Helvetica Neue', Arial, sans-serif\" font-size=\"11\">\
         <style>.row{{fill:#ccccdc;font-size:13px;font-weight:600}}.title{{fill:#ccccdc;font-size:12px;font-weight:500}}\
         .axis{{fill:#8e8e9d;font-size:10px}}.key{{fill:#b7b7c4;font-size:10px}}.grid{{stroke:#2c3036;stroke-width:1}}\
         .card{{fill:#181b1f;stroke:#2a2d33}}</style>\
         <rect width=\"1200\" height=\"{h:.0}\" fill=\"#111217\"/>\
         <text x=\"12\" y=\"26\" fill=\"#ffffff\" font-size=\"16\" font-weight=\"600\">{}</text>{body}</svg>\n",
        escaped(board.title),
        h = y + 8.0
    )
}

#[derive(Clone, Copy)]
struct Place {
    x: f64,
    y: f64,
    w: f64,
    h: f64,
}

/// The series of a panel, each under its name in the legend; the largest, in the order of their names.
fn asked(prometheus: &Prometheus, panel: &Panel, seconds: u64) -> Vec<(String, Series)> {
    let step = (seconds / VALUES).max(1);
    let mut all = Vec::new();
    for query in &panel.queries {
        let expr = expanded(query.expr)
            .replace("$__rate_interval", "10s")
            .replace("$job", ".+")
            .replace("$instance", ".+");
        for series in prometheus.range(&expr, seconds, step).unwrap() {
            if !series.points.is_empty() {
                all.push((series.name(query.legend).replace("127.0.0.1:", "larder:"), series));
            }
        }
    }
    let sum = |series: &Series| series.points.iter().map(|(_, value)| value).sum::<f64>();
    if all.len() > 4 {
        all.retain(|(_, series)| sum(series) > 0.0);
    }
    all.sort_by(|a, b| sum(&b.1).total_cmp(&sum(&a.1)));
    all.truncate(LINES);
    all
}

fn drawn(panel: &Panel, place: Place, series: &[(String, Series)], seconds: u64) -> String {
    let Place { x, y, w, h } = place;
    let mut out = format!(
        "<rect x=\"{x:.0}\" y=\"{y:.0}\" width=\"{w:.0}\" height=\"{h:.0}\" rx=\"3\" class=\"card\"/>\
         <text x=\"{:.0}\" y=\"{:.0}\" class=\"title\">{}</text>",
        x + 8.0,
        y + 17.0,
        escaped(panel.title)
    );
    match panel.kind {
        Kind::Stat => out += &number(panel, place, series),
        _ => out += &graph(panel, place, series, seconds),
    }
    out
}

fn number(panel: &Panel, place: Place, series: &[(String, Series)]) -> String {
    let Place { x, y, w, h } = place;
    let points = series.first().map_or(&[][..], |(_, series)| &series.points);
    let Some((_, last)) = points.last() else {
        return String::new();
    };
    let mut colour = match panel.steps {
        [(f64::MIN, colour), ..] => colour,
        _ => "green",
    };
    for (from, name) in panel.steps {
        if last >= from {
            colour = name;
        }
    }
    let colour = match colour {
        "red" => "#f2495c",
        "orange" => "#ff9830",
        _ => "#73bf69",
    };
    let text = match (panel.words, *last as i64) {
        (Some([zero, _]), 0) => zero.to_owned(),
        (Some([_, one]), _) => one.to_owned(),
        _ => shown(*last, panel.unit),
    };
    let box_ = Place {
        x: x + 1.0,
        y: y + h * 0.62,
        w: w - 2.0,
        h: h * 0.37,
    };
    let most = points
        .iter()
        .map(|(_, value)| *value)
        .fold(f64::MIN_POSITIVE, f64::max);
    let spark = area(
        &line(points, box_, most * 1.1, points[0].0, points[points.len() - 1].0),
        box_,
    );
    format!(
        "<path d=\"{spark}\" fill=\"{colour}\" opacity=\"0.18\"/>\
         <text x=\"{:.0}\" y=\"{:.0}\" fill=\"{colour}\" font-size=\"24\" font-weight=\"600\" text-anchor=\"middle\">{}</text>",
        x + w / 2.0,
        y + h * 0.66,
        escaped(&text)
    )
}

fn graph(panel: &Panel, place: Place, series: &[(String, Series)], seconds: u64) -> String {
    let Place { x, y, w, h } = place;
    let inner = Place {
        x: x + 58.0,
        y: y + 28.0,
        w: w - 68.0,
        h: h - 72.0,
    };
    let end = series
        .iter()
        .flat_map(|(_, s)| s.points.last())
        .map(|(at, _)| *at)
        .fold(0.0, f64::max);
    let start = end - seconds as f64;
    let mut lines: Vec<Vec<(f64, f64)>> = series.iter().map(|(_, series)| series.points.clone()).collect();
    if panel.kind == Kind::Stack {
        pile(&mut lines);
    }
    let highest = lines
        .iter()
        .flatten()
        .map(|(_, value)| *value)
        .fold(0.0, f64::max);
    let most = ceiling(highest, panel.unit);
    let mut out = String::new();
    for part in 0..=4 {
        let at = inner.y + inner.h * f64::from(4 - part) / 4.0;
        let _ = write!(
            out,
            "<line x1=\"{:.0}\" y1=\"{at:.1}\" x2=\"{:.0}\" y2=\"{at:.1}\" class=\"grid\"/>\
             <text x=\"{:.0}\" y=\"{:.1}\" class=\"axis\" text-anchor=\"end\">{}</text>",
            inner.x,
            inner.x + inner.w,
            inner.x - 6.0,
            at + 3.5,
            escaped(&shown(most * f64::from(part) / 4.0, panel.unit))
        );
    }
    for part in 0..=3 {
        let back = seconds as f64 * f64::from(3 - part) / 3.0;
        let text = if part == 3 {
            "now".to_owned()
        } else {
            format!("-{back:.0} s")
        };
        let anchor = ["start", "middle", "middle", "end"][part as usize];
        let _ = write!(
            out,
            "<text x=\"{:.0}\" y=\"{:.0}\" class=\"axis\" text-anchor=\"{anchor}\">{text}</text>",
            inner.x + inner.w * f64::from(part) / 3.0,
            inner.y + inner.h + 14.0
        );
    }
    let mut key = inner.x - 50.0;
    let mut areas = Vec::new();
    for (number, ((name, _), points)) in series.iter().zip(&lines).enumerate() {
        let colour = COLOURS[number % COLOURS.len()];
        let path = line(points, inner, most, start, end);
        let filled = if panel.kind == Kind::Stack { 0.35 } else { 0.07 };
        let under = area(&path, inner);
        // What is lower in a stack hides what is drawn behind it.
        let cover = if panel.kind == Kind::Stack { 1 } else { 0 };
        areas.push(format!(
            "<path d=\"{under}\" fill=\"#181b1f\" opacity=\"{cover}\"/>\
             <path d=\"{under}\" fill=\"{colour}\" opacity=\"{filled}\"/>\
             <path d=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.4\" stroke-linejoin=\"round\"/>"
        ));
        let width = 22.0 + name.len() as f64 * 5.9;
        if key + width < x + w {
            let _ = write!(
                out,
                "<rect x=\"{key:.0}\" y=\"{:.0}\" width=\"10\" height=\"3\" fill=\"{colour}\"/>\
                 <text x=\"{:.0}\" y=\"{:.0}\" class=\"key\">{}</text>",
                y + h - 15.0,
                key + 14.0,
                y + h - 10.0,
                escaped(name)
            );
            key += width;
        }
    }
    // The lowest of a stack last, so that each covers what is above it.
    areas.reverse();
    out + &areas.concat()
}

/// Puts each line on top of the one before.
fn pile(lines: &mut [Vec<(f64, f64)>]) {
    for number in 1..lines.len() {
        let below = lines[number - 1].clone();
        for (at, value) in &mut lines[number] {
            let under = below.iter().rev().find(|(time, _)| time <= at);
            *value += under.map_or(0.0, |(_, value)| *value);
        }
    }
}

/// A path through points, within `place`.
fn line(points: &[(f64, f64)], place: Place, most: f64, start: f64, end: f64) -> String {
    let mut path = String::new();
    let mut before = f64::MIN;
    for (at, value) in points {
        let x = place.x + place.w * (at - start) / (end - start).max(1.0);
        let y = place.y + place.h * (1.0 - (value / most).clamp(0.0, 1.0));
        let gap = at - before > (end - start) / 12.0;
        let _ = write!(path, "{}{x:.1} {y:.1}", if gap { "M" } else { "L" });
        before = *at;
    }
    path
}

/// The area under a path.
fn area(path: &str, place: Place) -> String {
    let floor = place.y + place.h;
    let mut out = String::new();
    for piece in path.split('M').filter(|piece| !piece.is_empty()) {
        let xs: Vec<&str> = piece
            .split('L')
            .filter_map(|point| point.split(' ').next())
            .collect();
        let (Some(first), Some(last)) = (xs.first(), xs.last()) else {
            continue;
        };
        let _ = write!(out, "M{piece}L{last} {floor:.1}L{first} {floor:.1}Z");
    }
    out
}

/// A round number not below `value`.
fn ceiling(value: f64, unit: &str) -> f64 {
    if value <= 0.0 {
        return 1.0;
    }
    let base = if unit.contains("ytes") || unit == "binBps" {
        2.0_f64
    } else {
        10.0
    };
    let power = base.powf(value.log(base).floor());
    let steps: &[f64] = if base == 2.0 {
        &[1.0, 1.25, 1.5, 2.0]
    } else {
        &[1.0, 1.2, 1.6, 2.0, 2.4, 3.2, 4.0, 6.0, 8.0, 10.0]
    };
    steps
        .iter()
        .map(|step| step * power)
        .find(|bound| *bound >= value)
        .unwrap_or(value)
}

/// A value with its unit, short.
fn shown(value: f64, unit: &str) -> String {
    let digits = |value: f64| match value.abs() {
        0.0 => "0".to_owned(),
        size if size < 0.1 => format!("{value:.3}"),
        size if size < 10.0 => format!("{value:.2}")
            .trim_end_matches('0')
            .trim_end_matches('.')
            .to_owned(),
        size if size < 100.0 => format!("{value:.1}").trim_end_matches(".0").to_owned(),
        _ => format!("{value:.0}"),
    };
    let scaled = |mut value: f64, factor: f64, names: &[&str]| {
        let mut at = 0;
        while value.abs() >= factor && at + 1 < names.len() {
            value /= factor;
            at += 1;
        }
        format!("{} {}", digits(value), names[at])
    };
    match unit {
        "bytes" => scaled(value, 1024.0, &["B", "KiB", "MiB", "GiB", "TiB"]),
        "binBps" => scaled(value, 1024.0, &["B/s", "KiB/s", "MiB/s", "GiB/s"]),
        "percentunit" => format!("{} %", digits(value * 100.0)),
        "s" if value == 0.0 => "0 s".to_owned(),
        "s" if value < 0.001 => format!("{} µs", digits(value * 1e6)),
        "s" if value < 1.0 => format!("{} ms", digits(value * 1e3)),
        "s" if value >= 120.0 => format!("{} min", digits(value / 60.0)),
        "s" => format!("{} s", digits(value)),
        "reqps" => format!("{} req/s", digits(value)),
        "cps" | "ops" => format!("{} /s", digits(value)),
        _ => digits(value),
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[test]
fn values_are_short() {
    for (value, unit, expected) in [
        (1536.0, "bytes", "1.5 KiB"),
        (0.0042, "s", "4.2 ms"),
        (0.93, "percentunit", "93 %"),
        (0.0, "reqps", "0 req/s"),
        (300.0, "s", "5 min"),
    ] {
        assert_eq!(shown(value, unit), expected);
    }
    assert!(ceiling(93.0, "reqps") >= 93.0);
}
