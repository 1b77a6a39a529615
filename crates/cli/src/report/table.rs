use maestro_policy::evaluation::{
    bootstrap::Interval,
    study::{Difference, FamilyRow, RouterKind, Row, Spread},
};

use super::Report;

/// Single pairs that are printed; JSON and the page have all.
const SINGLES: usize = 12;

/// The columns' heads.
pub(super) const HEAD: [&str; 14] = [
    "router",
    "right",
    "interval",
    "cost",
    "time",
    "p50",
    "p99",
    "calls",
    "AIQ",
    "gain (points)",
    "over kNN (points)",
    "gap closed",
    "regret",
    "rare",
];

/// The report for a terminal.
pub(crate) fn table(report: &Report) -> String {
    let study = &report.study;
    let mut lines = vec![HEAD.map(str::to_owned).to_vec()];
    let mut singles = 0;
    for row in &study.rows {
        singles += usize::from(row.kind == RouterKind::Single);
        if row.kind != RouterKind::Single || singles <= SINGLES {
            lines.push(cells(row));
        }
        let ends = row.family.as_ref().and_then(|name| {
            let mut own = study
                .rows
                .iter()
                .filter(|r| r.family.as_ref() == Some(name));
            let is_last = own.next_back().is_some_and(|last| last.name == row.name);
            is_last.then(|| study.families.iter().find(|family| family.name == *name))
        });
        lines.extend(ends.flatten().map(family_cells));
    }
    let mut text = format!("{}\n\n{}", summary(report), aligned(&lines));
    if singles > SINGLES {
        let more = singles - SINGLES;
        text.push_str(&format!("… and {more} more single pairs\n"));
    }
    text.push('\n');
    for row in study.rows.iter().filter(|row| !row.note.is_empty()) {
        text.push_str(&format!("{}: {}\n", row.name, row.note));
    }
    for row in study.rows.iter().filter(|r| r.kind == RouterKind::Policy) {
        if let Some(found) = &row.disagreement {
            text.push_str(&format!(
                "{}: on {} tasks it got answers that differ; the first was right on {}, the one it \
                 gave on {}\n",
                row.name,
                found.tasks,
                percent(found.first),
                percent(found.chosen),
            ));
        }
    }
    text
}

/// What was measured, in a sentence or two.
pub(super) fn summary(report: &Report) -> String {
    let study = &report.study;
    let mut text = format!(
        "{} tasks of {} ({}), {} pairs; best single pair {}; {:.0} % intervals over tasks",
        study.tasks,
        report.data.join(", "),
        report.splits.join(", "),
        study.pairs,
        study.best_single,
        study.level * 100.0,
    );
    if !report.added.is_empty() {
        text.push_str(&format!("; added: {}", report.added.join(", ")));
    }
    if report.train_tasks > 0 {
        text.push_str(&format!(
            "; baselines learned from {} tasks",
            report.train_tasks
        ));
    }
    if report.left_out > 0 {
        let left_out = report.left_out;
        text.push_str(&format!(
            "; {left_out} tasks that no recorded call suits are left out"
        ));
    }
    if report.is_renamed {
        text.push_str("; entries renamed");
    }
    if report.paraphrased > 0 {
        text.push_str(&format!(
            "; {} descriptions paraphrased",
            report.paraphrased
        ));
    }
    if study.rare_tasks > 0 {
        text.push_str(&format!(
            "; {} rare experts are alone right on {} tasks",
            study.rare_experts, study.rare_tasks
        ));
    }
    text
}

/// A row's cells, by [`HEAD`].
pub(super) fn cells(row: &Row) -> Vec<String> {
    let metrics = &row.metrics;
    vec![
        row.name.clone(),
        percent(metrics.accuracy),
        interval(row.accuracy_interval, 100.0),
        dollars(metrics.cost_usd),
        seconds(metrics.latency_s),
        seconds(metrics.latency_p50_s),
        seconds(metrics.latency_p99_s),
        format!("{:.2}", metrics.calls),
        or_dash(row.aiq, |aiq| format!("{aiq:.3}")),
        points(&row.gain),
        or_dash(row.over_knn, |difference| points(&difference)),
        or_dash(row.gap_closed, percent),
        format!("{:.3}", metrics.regret),
        or_dash(metrics.rare_recall, percent),
    ]
}

/// A family's cells, by [`HEAD`].
pub(super) fn family_cells(family: &FamilyRow) -> Vec<String> {
    let percents = |spread: Spread| {
        let (mean, deviation) = (spread.mean * 100.0, spread.deviation * 100.0);
        format!("{mean:.1} ± {deviation:.1} %")
    };
    vec![
        format!("{}, {} seeds: mean ± sd", family.name, family.seeds),
        percents(family.accuracy),
        String::new(),
        dollars(family.cost_usd.mean),
        seconds(family.latency_s.mean),
        seconds(family.latency_p50_s.mean),
        String::new(),
        format!("{:.2} ± {:.2}", family.calls.mean, family.calls.deviation),
        or_dash(family.aiq, |aiq| {
            format!("{:.3} ± {:.3}", aiq.mean, aiq.deviation)
        }),
        points(&family.mean_gain),
        String::new(),
        or_dash(family.gap_closed, percents),
        String::new(),
        String::new(),
    ]
}

fn or_dash<T>(value: Option<T>, show: impl FnOnce(T) -> String) -> String {
    value.map_or_else(|| "–".to_owned(), show)
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

fn interval(interval: Interval, factor: f64) -> String {
    let (low, high) = (interval.low * factor, interval.high * factor);
    format!("[{low:.1}, {high:.1}]")
}

fn points(difference: &Difference) -> String {
    let mean = difference.mean * 100.0;
    format!("{mean:+.1} {}", interval(difference.interval, 100.0))
}

fn dollars(amount: f64) -> String {
    format!("${amount:.6}")
}

fn seconds(time: f64) -> String {
    if time < 1.0 {
        format!("{:.0} ms", time * 1e3)
    } else {
        format!("{time:.2} s")
    }
}

/// Columns as wide as their widest cell; the first to the left, the others to the right.
fn aligned(lines: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = lines.iter().filter_map(|line| line.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..HEAD.len()).map(width).collect();
    let mut text = String::new();
    for line in lines {
        let cells = line.iter().zip(&widths).enumerate();
        let padded: Vec<String> = cells
            .map(|(column, (cell, width))| match column {
                0 => format!("{cell:<width$}"),
                _ => format!("{cell:>width$}"),
            })
            .collect();
        text.push_str(padded.join("  ").trim_end());
        text.push('\n');
    }
    text
}
