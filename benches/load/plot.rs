//! Latency percentiles as a picture: an SVG without a library.

use std::fmt::Write;

use hdrhistogram::Histogram;

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 560.0;
const LEFT: f64 = 80.0;
const RIGHT: f64 = 260.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 50.0;
/// The median, in nines: one half is 1 - 10^-0.3.
const MEDIAN: f64 = std::f64::consts::LOG10_2;
/// The right end, in nines.
const NINES: f64 = 4.0;

/// One line of the picture.
pub struct Line {
    /// Shown beside it.
    pub label: String,
    /// Latencies in nanoseconds.
    pub latency: Histogram<u32>,
}

/// Draws `lines`: percentiles by their number of nines to the right, latency on a logarithmic scale upwards.
pub fn draw(title: &str, lines: &[Line]) -> String {
    let decades = decades(lines);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"{LEFT}\" y=\"24\" font-size=\"15\">{}</text>\n",
        escape(title)
    );
    grid(&mut svg, decades);
    for (number, line) in lines.iter().enumerate() {
        // Neighbours get hues that are far apart.
        let colour = format!("hsl({:.0} 70% 42%)", number as f64 * 137.5 % 360.0);
        let _ = writeln!(
            svg,
            "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" points=\"{}\"/>",
            points(&line.latency, decades)
        );
        let y = TOP + 16.0 * (number as f64 + 0.5);
        let x = WIDTH - RIGHT + 16.0;
        let _ = writeln!(
            svg,
            "<rect x=\"{x}\" y=\"{}\" width=\"14\" height=\"3\" fill=\"{colour}\"/><text x=\"{}\" y=\"{}\">{}</text>",
            y - 2.0,
            x + 20.0,
            y + 4.0,
            escape(&line.label)
        );
    }
    svg + "</svg>\n"
}

/// The powers of ten, in nanoseconds, that enclose all lines.
fn decades(lines: &[Line]) -> (i32, i32) {
    let used = || lines.iter().filter(|line| !line.latency.is_empty());
    let low = used()
        .map(|line| line.latency.value_at_quantile(0.5))
        .min()
        .unwrap_or(1_000);
    let high = used()
        .map(|line| line.latency.value_at_quantile(quantile(NINES)))
        .max()
        .unwrap_or(1_000_000);
    let low = (low.max(1) as f64).log10().floor() as i32;
    let high = (high.max(1) as f64).log10().ceil() as i32;
    (low, high.max(low + 1))
}

fn grid(svg: &mut String, (low, high): (i32, i32)) {
    let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
    for power in low..=high {
        let y = y(10f64.powi(power), (low, high));
        let label = super::report::time(10f64.powi(power - 9));
        let _ = writeln!(
            svg,
            "<path d=\"M{LEFT} {y:.1}H{right}\" stroke=\"#ccc\"/><text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>",
            LEFT - 8.0,
            y + 4.0
        );
    }
    for (nines, label) in [
        (MEDIAN, "p50"),
        (1.0, "p90"),
        (2.0, "p99"),
        (3.0, "p99.9"),
        (NINES, "p99.99"),
    ] {
        let x = x(nines);
        let _ = writeln!(
            svg,
            "<path d=\"M{x:.1} {TOP}V{bottom}\" stroke=\"#ccc\"/><text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{label}</text>",
            bottom + 20.0
        );
    }
}

/// The line of one histogram, as far to the right as it has requests to tell percentiles apart.
fn points(latency: &Histogram<u32>, decades: (i32, i32)) -> String {
    let nines_seen = (latency.len().max(2) as f64).log10().min(NINES);
    let steps = 200;
    let point = |step: i32| {
        let nines = MEDIAN + (nines_seen - MEDIAN) * f64::from(step) / f64::from(steps);
        let value = latency.value_at_quantile(quantile(nines)).max(1) as f64;
        format!("{:.1},{:.1}", x(nines), y(value, decades))
    };
    (0..=steps).map(point).collect::<Vec<_>>().join(" ")
}

fn quantile(nines: f64) -> f64 {
    1.0 - 10f64.powf(-nines)
}

fn x(nines: f64) -> f64 {
    LEFT + (nines - MEDIAN) / (NINES - MEDIAN) * (WIDTH - RIGHT - LEFT)
}

fn y(nanos: f64, (low, high): (i32, i32)) -> f64 {
    let share = (nanos.log10() - f64::from(low)) / f64::from(high - low);
    HEIGHT - BOTTOM - share * (HEIGHT - BOTTOM - TOP)
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
