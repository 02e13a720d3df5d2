//! The two drawings of the page, as inline SVG: orders over time above the steps on one axis, and
//! the recovery magnified.

use std::fmt::Write;

use super::story::{Step, Story};
use crate::text;

const WIDTH: f64 = 960.0;
/// Room for the names of the steps.
const LEFT: f64 = 92.0;
const RIGHT: f64 = 16.0;
const CURVE_TOP: f64 = 26.0;
const CURVE_HEIGHT: f64 = 132.0;
const ROW: f64 = 24.0;

/// Orders a second over the whole run, the outage, and below them each step as a bar.
pub fn timeline(story: &Story) -> String {
    let end = story.seconds.max(0.1);
    let x = |at: f64| LEFT + (WIDTH - LEFT - RIGHT) * (at / end).clamp(0.0, 1.0);
    let rows_top = CURVE_TOP + CURVE_HEIGHT + 40.0;
    let height = rows_top + ROW * story.steps.len() as f64 + 8.0;
    let mut svg = open(height, "Orders a second, and the steps of the demonstration, over time");
    let clock = &story.clock;
    rect(&mut svg, "out", x(clock.t0), CURVE_TOP, x(clock.t5) - x(clock.t0), CURVE_HEIGHT);
    curve(&mut svg, &story.writer.tenths, end, &x);
    axis(&mut svg, end, &x);
    for step in story.steps.iter().filter(|step| step.name == "backup") {
        let wide = (x(step.to) - x(step.from)).max(2.0);
        rect(&mut svg, "band", x(step.from), CURVE_TOP, wide, CURVE_HEIGHT);
        label(&mut svg, x(step.from), CURVE_TOP - 10.0, "start", "soft tiny", "backup");
    }
    label(&mut svg, x(clock.t0) - 6.0, CURVE_TOP - 10.0, "end", "buoy strong", "destroyed");
    label(&mut svg, x(clock.t5) + 6.0, CURVE_TOP - 10.0, "start", "sea strong", "open again");
    upright(&mut svg, "mark", x(clock.t0), CURVE_TOP - 6.0, CURVE_TOP + CURVE_HEIGHT);
    upright(&mut svg, "now", x(clock.t5), CURVE_TOP - 6.0, CURVE_TOP + CURVE_HEIGHT);
    for (at, step) in story.steps.iter().enumerate() {
        bar(&mut svg, step, rows_top + ROW * at as f64, &x);
    }
    svg.push_str("</svg>");
    svg
}

/// The area of orders a second, smoothed over three tenths.
fn curve(svg: &mut String, tenths: &[u32], end: f64, x: &dyn Fn(f64) -> f64) {
    let smooth: Vec<f64> = (0..tenths.len())
        .map(|at| {
            let near = &tenths[at.saturating_sub(1)..(at + 2).min(tenths.len())];
            // A gap stays a gap: only full neighbours are averaged.
            if tenths[at] == 0 {
                0.0
            } else {
                10.0 * near.iter().map(|&n| f64::from(n)).sum::<f64>() / near.len() as f64
            }
        })
        .collect();
    let top = nice(smooth.iter().copied().fold(1.0, f64::max));
    let y = |rate: f64| CURVE_TOP + CURVE_HEIGHT * (1.0 - rate / top);
    for part in [0.0, 0.5, 1.0] {
        let at = y(top * part);
        line(svg, "grid", LEFT, at, WIDTH - RIGHT, at);
        let name = text::count((top * part) as u64);
        label(svg, LEFT - 10.0, at + 4.0, "end", "soft tiny", &name);
    }
    label(svg, LEFT - 10.0, CURVE_TOP - 10.0, "end", "soft tiny", "orders/s");
    let mut points = String::new();
    for (at, rate) in smooth.iter().enumerate() {
        let time = (at as f64 + 0.5) / 10.0;
        if time <= end {
            let _ = write!(points, "{:.1},{:.1} ", x(time), y(*rate));
        }
    }
    let (from, to) = (x(0.05), x(((smooth.len() as f64 - 0.5) / 10.0).min(end)));
    let base = y(0.0);
    let _ = write!(
        svg,
        "<polygon class=\"area\" points=\"{from:.1},{base:.1} {points}{to:.1},{base:.1}\"/>\
         <polyline class=\"curve\" points=\"{points}\"/>"
    );
}

/// Seconds along the bottom of the curve.
fn axis(svg: &mut String, end: f64, x: &dyn Fn(f64) -> f64) {
    let every = [1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0]
        .into_iter()
        .find(|every| end / every <= 14.0)
        .unwrap_or(3600.0);
    let mut at = 0.0;
    while at <= end {
        let place = x(at);
        line(svg, "grid", place, CURVE_TOP + CURVE_HEIGHT, place, CURVE_TOP + CURVE_HEIGHT + 5.0);
        label(
            svg,
            place,
            CURVE_TOP + CURVE_HEIGHT + 19.0,
            "middle",
            "soft tiny",
            &format!("{at:.0}s"),
        );
        at += every;
    }
}

/// One step: its name at the left, its bar, its duration beside the bar.
fn bar(svg: &mut String, step: &Step, top: f64, x: &dyn Fn(f64) -> f64) {
    let (from, to) = (x(step.from), x(step.to));
    let wide = (to - from).max(2.5);
    line(svg, "grid", LEFT, top + ROW - 4.0, WIDTH - RIGHT, top + ROW - 4.0);
    label(svg, LEFT - 10.0, top + 13.0, "end", "", step.name);
    let _ = write!(
        svg,
        "<rect class=\"bar {}\" x=\"{from:.1}\" y=\"{:.1}\" width=\"{wide:.1}\" height=\"10\" \
         rx=\"2\"/>",
        step.name,
        top + 4.0
    );
    let span = text::seconds(step.to - step.from);
    if from + wide + 60.0 < WIDTH - RIGHT {
        label(svg, from + wide + 7.0, top + 13.0, "start", "soft tiny", &span);
    } else {
        label(svg, from - 7.0, top + 13.0, "end", "soft tiny", &span);
    }
}

/// T0 to T5 as one bar whose parts are what the time went into.
pub fn recovery(story: &Story) -> String {
    let clock = &story.clock;
    let parts = [
        ("seg1", clock.t0, clock.t2, "decide"),
        ("seg2", clock.t2, clock.t4, "restore, verify, swap"),
        ("seg4", clock.t4, clock.t5, "open the shop"),
    ];
    let whole = (clock.t5 - clock.t0).max(0.001);
    let x = |at: f64| 8.0 + (WIDTH - 16.0) * ((at - clock.t0) / whole).clamp(0.0, 1.0);
    let mut svg = open(118.0, "From T0, damage detected, to T5, service answering");
    for (class, from, to, name) in parts {
        let (left, right) = (x(from), x(to));
        rect(&mut svg, class, left, 44.0, (right - left - 1.5).max(1.0), 22.0);
        if right - left > 70.0 {
            let middle = (left + right) / 2.0;
            label(&mut svg, middle, 84.0, "middle", "", name);
            let span = text::seconds(to - from);
            label(&mut svg, middle, 100.0, "middle", "soft tiny", &span);
        }
    }
    marks(&mut svg, story, &x);
    svg.push_str("</svg>");
    svg
}

/// The names of the instants above the bar, moved apart where they fall together.
fn marks(svg: &mut String, story: &Story, x: &dyn Fn(f64) -> f64) {
    const WIDE: f64 = 96.0;
    let clock = &story.clock;
    let marks = [
        ("T0", "detected", clock.t0),
        ("T1–T2", "recovery started", clock.t2),
        ("T3–T4", "back and verified", clock.t4),
        ("T5", "answering", clock.t5),
    ];
    // From both ends towards the middle: the outer ones stand at the edges.
    let right = x(clock.t5);
    let mut at = [8.0, x(clock.t2), x(clock.t4), right];
    at[1] = at[1].clamp(at[0] + 66.0, right - 2.0 * WIDE - 70.0);
    at[2] = at[2].clamp(at[1] + WIDE + 8.0, right - 70.0);
    for (number, (name, what, time)) in marks.into_iter().enumerate() {
        let anchor = match number {
            0 | 1 => "start",
            _ => "end",
        };
        label(svg, at[number], 18.0, anchor, "strong", name);
        label(svg, at[number], 33.0, anchor, "soft tiny", what);
        upright(svg, "now", x(time), 38.0, 70.0);
    }
}

/// The next number of the form 1, 2 or 5 times a power of ten.
fn nice(value: f64) -> f64 {
    let power = 10f64.powf(value.log10().floor());
    [1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0]
        .into_iter()
        .map(|step| step * power)
        .find(|&limit| limit >= value)
        .unwrap_or(10.0 * power)
}

fn open(height: f64, title: &str) -> String {
    format!(
        "<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{title}\" \
         xmlns=\"http://www.w3.org/2000/svg\">"
    )
}

fn rect(svg: &mut String, class: &str, x: f64, y: f64, width: f64, height: f64) {
    let _ = write!(
        svg,
        "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{height:.1}\"/>",
        width.max(0.0)
    );
}

fn line(svg: &mut String, class: &str, x1: f64, y1: f64, x2: f64, y2: f64) {
    let _ = write!(
        svg,
        "<line class=\"{class}\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>"
    );
}

fn upright(svg: &mut String, class: &str, x: f64, from: f64, to: f64) {
    line(svg, class, x, from, x, to);
}

fn label(svg: &mut String, x: f64, y: f64, anchor: &str, class: &str, words: &str) {
    let words = super::page::escape(words);
    let _ = write!(
        svg,
        "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{words}</text>"
    );
}

#[cfg(test)]
mod tests {
    use super::nice;

    #[test]
    fn the_scale_ends_at_a_round_number() {
        assert_eq!([1.0, 7.3, 99.0, 101.0, 1234.0].map(nice), [1.0, 8.0, 100.0, 120.0, 1500.0]);
    }
}
