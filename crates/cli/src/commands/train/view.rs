use indicatif::{ProgressBar, ProgressStyle};
use maestro_policy::learning::IterationMetrics;

use crate::commands::print_json;

/// The live view.
pub(super) struct View {
    bar: ProgressBar,
    json: bool,
}

impl View {
    pub(super) fn new(iterations: u64, json: bool) -> Self {
        let bar = if json {
            ProgressBar::hidden()
        } else {
            ProgressBar::new(iterations)
        };
        let template = "{bar:30} {pos}/{len} {elapsed}/{duration}  {msg}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Self { bar, json }
    }

    /// Shows an iteration; false once nobody reads the output any more.
    pub(super) fn show(&self, metrics: &IterationMetrics) -> bool {
        if self.json {
            return print_json(metrics).is_ok();
        }
        self.bar.set_position(metrics.iteration);
        self.bar.set_message(format!(
            "reward {:.3}  right {:.1} %  calls {:.2}  {:.2} s  entropy {:.2}  {:.0} episodes/s",
            metrics.reward,
            metrics.accuracy * 100.0,
            metrics.calls,
            metrics.latency,
            metrics.entropy,
            metrics.episodes_per_second,
        ));
        if let Some(held) = metrics.validation {
            self.bar.println(format!(
                "iteration {}: held out reward {:.3}, right {:.1} %, {:.2} calls, {:.2} s, ${:.6}",
                metrics.iteration,
                held.reward,
                held.accuracy * 100.0,
                held.calls,
                held.latency,
                held.cost,
            ));
        }
        true
    }

    pub(super) fn finish(&self) {
        self.bar.finish();
    }
}
