use maestro_policy::evaluation::study::{RouterKind, Row};
use minijinja::{Environment, context};
use serde::Serialize;

use super::{Report, plots, table};
use crate::error::CliError;

const TEMPLATE: &str = include_str!("page.html");

/// A line of the page's table.
#[derive(Serialize)]
struct Line {
    kind: &'static str,
    cells: Vec<String>,
    note: String,
}

/// Plots of one router.
#[derive(Serialize)]
struct Router {
    name: String,
    confusion: String,
    calibration: Option<String>,
    ece: Option<f64>,
}

/// Plots of one training.
#[derive(Serialize)]
struct Learned {
    name: String,
    plots: [String; 2],
}

/// The report as one page that refers to nothing outside it.
pub(crate) fn html(report: &Report) -> Result<String, CliError> {
    let study = &report.study;
    let mut lines = Vec::with_capacity(study.rows.len() + study.families.len());
    for row in &study.rows {
        lines.push(Line {
            kind: kind(row.kind),
            cells: table::cells(row),
            note: row.note.clone(),
        });
    }
    let families: Vec<Line> = study
        .families
        .iter()
        .map(|family| Line {
            kind: "family",
            cells: table::family_cells(family),
            note: String::new(),
        })
        .collect();
    let shown = study.rows.iter().filter(|row| {
        let is_learned = row.family.is_none() || row.kind == RouterKind::Policy;
        row.kind != RouterKind::Single && is_learned
    });
    let routers = shown.map(router).collect::<Result<Vec<_>, _>>()?;
    let learned = report
        .curves
        .iter()
        .map(|curve| {
            Ok(Learned {
                name: curve.name.clone(),
                plots: plots::learning(curve)?,
            })
        })
        .collect::<Result<Vec<_>, CliError>>()?;

    let refused = |error: minijinja::Error| CliError::Report(error.to_string());
    let mut environment = Environment::new();
    environment
        .add_template("page.html", TEMPLATE)
        .map_err(refused)?;
    let page = environment.get_template("page.html").map_err(refused)?;
    page.render(context! {
        summary => table::summary(report),
        max_steps => report.max_steps,
        weights => report.weights,
        head => table::HEAD,
        lines,
        families,
        cost_range => study.cost_range,
        frontier => plots::frontier(study)?,
        routers,
        learned,
    })
    .map_err(refused)
}

fn kind(kind: RouterKind) -> &'static str {
    match kind {
        RouterKind::Policy => "policy",
        RouterKind::Baseline => "baseline",
        RouterKind::Single => "single",
        RouterKind::Bound => "bound",
    }
}

fn router(row: &Row) -> Result<Router, CliError> {
    let calibration = row.calibration.as_ref();
    Ok(Router {
        name: row.name.clone(),
        confusion: plots::confusion(&row.confusion)?,
        calibration: calibration.map(plots::calibration).transpose()?,
        ece: calibration.map(|calibration| calibration.ece),
    })
}
