//! Plots as SVG texts.

use std::ops::Range;

use maestro_policy::{
    evaluation::{
        calibration::{Calibration, Confusion},
        frontier::hull,
        study::{RouterKind, Row, Study},
    },
    learning::IterationMetrics,
};
use plotters::{coord::Shift, prelude::*};

use super::Curve;
use crate::error::CliError;

const SIZE: (u32, u32) = (940, 420);
/// Width of the plot itself; its legend stands to the right.
const PLOT: i32 = 660;
const FONT: (&str, u32) = ("sans-serif", 13);
/// Colours that are told apart by most eyes (Okabe and Ito).
const COLOURS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(90, 90, 90),
];
const GREY: RGBColor = RGBColor(150, 150, 150);

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = Result<(), DrawingAreaErrorKind<std::io::Error>>;

/// Draws onto a white sheet.
fn svg(size: (u32, u32), draw: impl FnOnce(&Area<'_>) -> Drawn) -> Result<String, CliError> {
    let mut text = String::new();
    let sheet = SVGBackend::with_string(&mut text, size).into_drawing_area();
    sheet
        .fill(&WHITE)
        .and_then(|()| draw(&sheet))
        .and_then(|()| sheet.present())
        .map_err(|error| CliError::Report(error.to_string()))?;
    drop(sheet);
    Ok(text)
}

/// A legend: a mark and a name a line.
fn beside(side: &Area<'_>, entries: &[(&str, RGBColor)]) -> Drawn {
    const LINE: i32 = 20;
    for (line, (name, colour)) in (1..).zip(entries) {
        let top = line * LINE;
        let mark = [(4, top), (16, top + 12)];
        side.draw(&Rectangle::new(mark, colour.filled()))?;
        let text = TextStyle::from(FONT).color(&BLACK);
        side.draw(&Text::new(clipped(name, 38), (22, top - 1), text))?;
    }
    Ok(())
}

fn colour(place: usize) -> RGBColor {
    COLOURS[place % COLOURS.len()]
}

/// Cost against accuracy: every router's points, and the hull of those that have several.
pub(super) fn frontier(study: &Study) -> Result<String, CliError> {
    /// Dollars for a thousand tasks are easier to read than for one.
    const TASKS: f64 = 1e3;
    let points = || study.rows.iter().flat_map(|row| &row.frontier);
    let most = points().map(|point| point.cost).fold(0.0, f64::max) * TASKS;
    let most = if most > 0.0 { most * 1.05 } else { 1.0 };
    let best = points().map(|point| point.quality).fold(0.0, f64::max);
    svg(SIZE, |sheet| {
        let (plot, side) = sheet.split_horizontally(PLOT);
        let mut legend = Vec::new();
        let mut chart = ChartBuilder::on(&plot)
            .margin(12)
            .x_label_area_size(42)
            .y_label_area_size(54)
            .build_cartesian_2d(0.0..most, 0.0..(best * 1.08).clamp(0.1, 1.05))?;
        chart
            .configure_mesh()
            .light_line_style(WHITE)
            .label_style(FONT)
            .x_desc("US dollars for 1,000 tasks")
            .y_desc("right")
            .draw()?;
        let (singles, others): (Vec<&Row>, Vec<&Row>) = study
            .rows
            .iter()
            .partition(|row| row.kind == RouterKind::Single);
        let place = |row: &Row| (row.metrics.cost_usd * TASKS, row.metrics.accuracy);
        chart.draw_series(
            singles
                .iter()
                .map(|row| Circle::new(place(row), 3, GREY.filled())),
        )?;
        legend.push(("single pairs", GREY));
        for (index, row) in others.into_iter().enumerate() {
            let own = colour(index);
            if row.frontier.len() > 1 {
                let mut line: Vec<(f64, f64)> = hull(&row.frontier)
                    .iter()
                    .map(|point| (point.cost * TASKS, point.quality))
                    .collect();
                line.extend(line.last().map(|(_, quality)| (most, *quality)));
                chart.draw_series(LineSeries::new(line, own.stroke_width(1)))?;
                let tried = row.frontier.iter();
                chart.draw_series(tried.map(|point| {
                    Circle::new((point.cost * TASKS, point.quality), 2, own.filled())
                }))?;
            }
            chart.draw_series([TriangleMarker::new(place(row), 6, own.filled())])?;
            legend.push((row.name.as_str(), own));
        }
        beside(&side, &legend)
    })
}

/// A named value of each iteration that has one.
type Series<'a> = (&'a str, &'a dyn Fn(&IterationMetrics) -> Option<f64>);

/// How a policy learned: what its episodes earned, and how it behaved.
pub(super) fn learning(curve: &Curve) -> Result<[String; 2], CliError> {
    let earned: [Series<'_>; 4] = [
        ("reward", &|m| Some(m.reward)),
        ("right", &|m| Some(m.accuracy)),
        ("held out: reward", &|m| Some(m.validation?.reward)),
        ("held out: right", &|m| Some(m.validation?.accuracy)),
    ];
    let behaved: [Series<'_>; 2] = [
        ("entropy (nats)", &|m| Some(m.entropy)),
        ("calls a task", &|m| Some(m.calls)),
    ];
    Ok([lines(curve, &earned)?, lines(curve, &behaved)?])
}

fn lines(curve: &Curve, series: &[Series<'_>]) -> Result<String, CliError> {
    let drawn: Vec<(&str, Vec<(f64, f64)>)> = series
        .iter()
        .map(|(name, value)| {
            let points = curve.iterations.iter();
            let points = points.filter_map(|m| Some((m.iteration as f64, value(m)?)));
            (*name, points.collect())
        })
        .collect();
    let values = || drawn.iter().flat_map(|(_, points)| points);
    let last = values().map(|point| point.0).fold(1.0, f64::max);
    svg(SIZE, |sheet| {
        let (plot, side) = sheet.split_horizontally(PLOT);
        let mut legend = Vec::new();
        let mut chart = ChartBuilder::on(&plot)
            .margin(12)
            .x_label_area_size(42)
            .y_label_area_size(54)
            .build_cartesian_2d(0.0..last, span(values().map(|point| point.1)))?;
        chart
            .configure_mesh()
            .light_line_style(WHITE)
            .label_style(FONT)
            .x_desc("iteration")
            .draw()?;
        for (index, (name, points)) in drawn.iter().enumerate() {
            let own = colour(index);
            chart.draw_series(LineSeries::new(points.iter().copied(), own.stroke_width(2)))?;
            legend.push((*name, own));
        }
        beside(&side, &legend)
    })
}

/// From the least (at most 0) to the greatest value, with some room.
fn span(values: impl Iterator<Item = f64>) -> Range<f64> {
    let (low, high) = values.fold((0.0f64, 0.0f64), |(low, high), value| {
        (low.min(value), high.max(value))
    });
    low..high.max(low + 0.1) * 1.05
}

/// Confidence against accuracy, by bins; the bars would end on the diagonal if both were the same.
pub(super) fn calibration(calibration: &Calibration) -> Result<String, CliError> {
    let width = 1.0 / calibration.bins.len().max(1) as f64;
    let largest = calibration
        .bins
        .iter()
        .map(|bin| bin.count)
        .max()
        .unwrap_or(1);
    svg((480, 360), |sheet| {
        let mut chart = ChartBuilder::on(sheet)
            .margin(12)
            .x_label_area_size(42)
            .y_label_area_size(54)
            .build_cartesian_2d(0.0..1.0, 0.0..1.0)?;
        chart
            .configure_mesh()
            .light_line_style(WHITE)
            .label_style(FONT)
            .x_desc("confidence when it stopped (darker: more tasks)")
            .y_desc("right")
            .draw()?;
        let filled = calibration
            .bins
            .iter()
            .enumerate()
            .filter(|(_, bin)| bin.count > 0);
        chart.draw_series(filled.map(|(place, bin)| {
            let left = place as f64 * width;
            let shade = 0.2 + 0.8 * bin.count as f64 / largest.max(1) as f64;
            let corners = [(left + 0.005, 0.0), (left + width - 0.005, bin.accuracy)];
            Rectangle::new(corners, COLOURS[0].mix(shade).filled())
        }))?;
        let diagonal = [(0.0, 0.0), (1.0, 1.0)];
        chart.draw_series(LineSeries::new(diagonal, GREY.stroke_width(1)))?;
        Ok(())
    })
}

/// Pairs by domain as a heat map: shades are shares of a domain's tasks, numbers are tasks. Pairs
/// that never answered are left out.
pub(super) fn confusion(confusion: &Confusion) -> Result<String, CliError> {
    const CELL: (i32, i32) = (54, 26);
    const LABEL: i32 = 220;
    const HEAD: i32 = 190;
    let used: Vec<usize> = (0..confusion.pairs.len())
        .filter(|pair| confusion.counts.iter().any(|row| row[*pair] > 0))
        .collect();
    let columns = i32::try_from(used.len()).unwrap_or(0);
    let rows = i32::try_from(confusion.domains.len()).unwrap_or(0);
    let size = (LABEL + columns * CELL.0 + 12, HEAD + rows * CELL.1 + 12);
    let size = (size.0.unsigned_abs(), size.1.unsigned_abs());
    svg(size, |sheet| {
        let text = TextStyle::from(FONT).color(&BLACK);
        let upright = text.transform(FontTransform::Rotate270);
        for (column, pair) in (0..).zip(&used) {
            let at = (LABEL + column * CELL.0 + CELL.0 / 2 - 7, HEAD - 6);
            let name = clipped(&confusion.pairs[*pair], 26);
            sheet.draw(&Text::new(name, at, upright.clone()))?;
        }
        for (row, (domain, counts)) in (0..).zip(confusion.domains.iter().zip(&confusion.counts)) {
            let top = HEAD + row * CELL.1;
            let name = clipped(domain, 30);
            sheet.draw(&Text::new(name, (6, top + 6), text.clone()))?;
            let total = counts.iter().sum::<usize>().max(1) as f64;
            for (column, pair) in (0..).zip(&used) {
                let left = LABEL + column * CELL.0;
                let share = counts[*pair] as f64 / total;
                let corners = [(left, top), (left + CELL.0 - 2, top + CELL.1 - 2)];
                let shade = COLOURS[0].mix(0.04 + 0.96 * share);
                sheet.draw(&Rectangle::new(corners, shade.filled()))?;
                if counts[*pair] > 0 {
                    let ink = if share > 0.5 { WHITE } else { BLACK };
                    let style = TextStyle::from(FONT).color(&ink);
                    let at = (left + 8, top + 6);
                    sheet.draw(&Text::new(counts[*pair].to_string(), at, style))?;
                }
            }
        }
        Ok(())
    })
}

fn clipped(text: &str, characters: usize) -> String {
    maestro_core::episode::clip_middle(text, characters)
}
