//! Reading text from images with Tesseract, one process a call: `tesseract stdin stdout tsv`.

use std::{path::PathBuf, process::Stdio, time::Duration};

use image::RgbImage;
use serde::{Deserialize, Deserializer};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    process::{Child, Command},
    time::timeout,
};

use super::ocr::{OcrError, TextLine, check_size};

/// Page segmentation modes that read text: 0 and 2 only look at the layout.
const SEGMENTATIONS: [u8; 12] = [1, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13];
/// Most that is taken from the program's output. A full page is a few hundred kilobytes.
const MAXIMUM_OUTPUT: u64 = 16 << 20;
/// Most that is kept of its complaints.
const MAXIMUM_COMPLAINT: u64 = 4 << 10;
/// The level of a word in the table; larger units have rows without text.
const WORD_LEVEL: &str = "5";

/// How Tesseract is run.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TesseractConfig {
    /// The program: a path, or a name to look up in `PATH`.
    pub program: PathBuf,
    /// Languages in the order of their weight, as Tesseract names their data files ("eng").
    pub languages: Vec<String>,
    /// Page segmentation mode, Tesseract's `--psm`: 1 or 3 to 13.
    pub page_segmentation: u8,
    /// After this long a call is given up and its process killed. In YAML `timeout_ms`.
    #[serde(rename = "timeout_ms", deserialize_with = "milliseconds")]
    pub timeout: Duration,
}

impl Default for TesseractConfig {
    /// English, one block of text (on receipts it found more words than the modes that look for
    /// columns), 30 seconds.
    fn default() -> Self {
        Self {
            program: "tesseract".into(),
            languages: vec!["eng".to_owned()],
            page_segmentation: 6,
            timeout: Duration::from_secs(30),
        }
    }
}

fn milliseconds<'de, D: Deserializer<'de>>(value: D) -> Result<Duration, D::Error> {
    u64::deserialize(value).map(Duration::from_millis)
}

/// Reads text with Tesseract. Each call starts a process; the caller bounds how many run at once.
#[derive(Debug, Clone)]
pub struct Tesseract {
    config: TesseractConfig,
}

impl Tesseract {
    /// Takes a configuration.
    ///
    /// # Errors
    ///
    /// [`OcrError::Setting`] if a value is out of its range. Whether the program is there shows in
    /// [`warm_up`](Self::warm_up).
    pub fn new(config: TesseractConfig) -> Result<Self, OcrError> {
        let invalid = |field, reason: String| Err(OcrError::Setting { field, reason });
        if !SEGMENTATIONS.contains(&config.page_segmentation) {
            let reason = format!("{} is none of {SEGMENTATIONS:?}", config.page_segmentation);
            return invalid("page_segmentation", reason);
        }
        let named = |name: &String| {
            !name.is_empty()
                && name
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '/')
        };
        if config.languages.is_empty() || !config.languages.iter().all(named) {
            return invalid(
                "languages",
                format!("{:?} are no language names", config.languages),
            );
        }
        if config.timeout.is_zero() {
            return invalid("timeout", "it is zero".to_owned());
        }
        Ok(Self { config })
    }

    /// Checks that the program runs and has its languages' data.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read); [`OcrError::Setting`] if a language is missing.
    pub async fn warm_up(&self) -> Result<(), OcrError> {
        let mut command = self.command();
        command.arg("--list-langs");
        let listed = self.run(command, &[], &[]).await?;
        match self
            .config
            .languages
            .iter()
            .find(|name| !listed.lines().any(|line| line == *name))
        {
            None => Ok(()),
            Some(name) => Err(OcrError::Setting {
                field: "languages",
                reason: format!("{} has no data for '{name}'", self.program()),
            }),
        }
    }

    /// The lines of text in an image, in Tesseract's order. An image without text has none.
    ///
    /// When the future is dropped, the process is killed.
    ///
    /// # Errors
    ///
    /// [`OcrError::Image`] for an image without pixels or with more than 100 million;
    /// [`OcrError::Program`], [`OcrError::Failed`] or [`OcrError::Timeout`] if the program cannot
    /// be started, fails or takes too long; [`OcrError::Output`] if what it writes is no table.
    pub async fn read(&self, image: &RgbImage) -> Result<Vec<TextLine>, OcrError> {
        check_size(image)?;
        let mut command = self.command();
        command
            .args(["stdin", "stdout", "-l"])
            .arg(self.config.languages.join("+"))
            .arg("--psm")
            .arg(self.config.page_segmentation.to_string())
            .arg("tsv");
        // A portable pixmap is the pixels behind one line of text: nothing to compress.
        let header = format!("P6\n{} {}\n255\n", image.width(), image.height());
        let table = self.run(command, header.as_bytes(), image.as_raw()).await?;
        parse_table(&table).map_err(OcrError::Output)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.config.program);
        command
            // Its threads slow each other down; the caller runs several processes instead.
            .env("OMP_THREAD_LIMIT", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    fn program(&self) -> String {
        self.config.program.display().to_string()
    }

    /// Runs a command on `header` followed by `body` and returns what it writes.
    async fn run(
        &self,
        mut command: Command,
        header: &[u8],
        body: &[u8],
    ) -> Result<String, OcrError> {
        let mut child = command.spawn().map_err(|error| OcrError::Program {
            program: self.program(),
            reason: error.to_string(),
        })?;
        let result = timeout(self.config.timeout, self.talk(&mut child, header, body)).await;
        if !matches!(result, Ok(Ok(_))) {
            // Ends the process now; nothing is left to do if it has ended by itself.
            let _ = child.start_kill();
        }
        result.unwrap_or(Err(OcrError::Timeout(self.config.timeout)))
    }

    async fn talk(
        &self,
        child: &mut Child,
        header: &[u8],
        body: &[u8],
    ) -> Result<String, OcrError> {
        let (input, output, complaints) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let feed = async {
            let Some(mut input) = input else { return };
            // A program that stops reading says why in its status; the broken pipe is a symptom.
            if input.write_all(header).await.is_ok() && input.write_all(body).await.is_ok() {
                let _ = input.shutdown().await;
            }
        };
        let ((), output, complaint) =
            tokio::join!(feed, bounded(output, MAXIMUM_OUTPUT), complaint(complaints));
        let output = output.map_err(OcrError::Output)?;
        let status = child
            .wait()
            .await
            .map_err(|error| OcrError::Output(error.to_string()))?;
        if !status.success() {
            return Err(OcrError::Failed {
                program: self.program(),
                status: status.to_string(),
                message: complaint,
            });
        }
        String::from_utf8(output).map_err(|error| OcrError::Output(error.to_string()))
    }
}

/// Everything that `source` gives, unless that is more than `limit` bytes.
async fn bounded(source: Option<impl AsyncRead + Unpin>, limit: u64) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    if let Some(source) = source {
        source
            .take(limit + 1)
            .read_to_end(&mut bytes)
            .await
            .map_err(|error| error.to_string())?;
    }
    if bytes.len() as u64 > limit {
        Err(format!("more than {limit} bytes"))
    } else {
        Ok(bytes)
    }
}

/// The beginning of what `source` gives. The rest is read too: a full pipe would stop the program.
async fn complaint(source: Option<impl AsyncRead + Unpin>) -> String {
    let mut bytes = Vec::new();
    if let Some(mut source) = source {
        // A complaint cut short is still one.
        let _ = (&mut source)
            .take(MAXIMUM_COMPLAINT)
            .read_to_end(&mut bytes)
            .await;
        let _ = tokio::io::copy(&mut source, &mut tokio::io::sink()).await;
    }
    String::from_utf8_lossy(&bytes).trim().to_owned()
}

/// One word of the table.
struct Word<'a> {
    /// Numbers of its page, block, paragraph and line.
    line: [&'a str; 4],
    left: f32,
    top: f32,
    right: f32,
    bottom: f32,
    /// 0 to 1.
    confidence: f32,
    text: &'a str,
}

/// Joins the words of Tesseract's table into lines. A line's confidence is the mean of its words'.
fn parse_table(table: &str) -> Result<Vec<TextLine>, String> {
    let mut rows = table.lines();
    if !rows
        .next()
        .is_some_and(|header| header.starts_with("level\tpage_num\t"))
    {
        return Err("the table has no header".to_owned());
    }
    let mut words = Vec::new();
    for row in rows {
        words.extend(parse_word(row).map_err(|reason| format!("{reason} in row {row:?}"))?);
    }
    Ok(words
        .chunk_by(|a, b| a.line == b.line)
        .filter_map(join)
        .collect())
}

/// The word in a row, if it is one with text.
fn parse_word(row: &str) -> Result<Option<Word<'_>>, &'static str> {
    let mut columns = row.splitn(12, '\t');
    let mut column = || columns.next().ok_or("fewer than 12 columns");
    let level = column()?;
    let line = [column()?, column()?, column()?, column()?];
    column()?;
    let mut number = || match column()?.parse::<f32>() {
        Ok(number) if number.is_finite() => Ok(number),
        _ => Err("no number"),
    };
    let (left, top, width, height) = (number()?, number()?, number()?, number()?);
    let percent = number()?;
    let text = columns.next().unwrap_or_default().trim();
    if level != WORD_LEVEL || text.is_empty() {
        return Ok(None);
    }
    let confidence = (percent / 100.0).clamp(0.0, 1.0);
    Ok(Some(Word {
        line,
        left,
        top,
        right: left + width,
        bottom: top + height,
        confidence,
        text,
    }))
}

/// The line of text that `words` make, if there are any.
fn join(words: &[Word<'_>]) -> Option<TextLine> {
    let first = words.first()?;
    let (mut left, mut top, mut right, mut bottom) =
        (first.left, first.top, first.right, first.bottom);
    for word in words {
        left = left.min(word.left);
        top = top.min(word.top);
        right = right.max(word.right);
        bottom = bottom.max(word.bottom);
    }
    let texts: Vec<&str> = words.iter().map(|word| word.text).collect();
    let confidence = words.iter().map(|word| word.confidence).sum::<f32>() / words.len() as f32;
    let quad = [[left, top], [right, top], [right, bottom], [left, bottom]];
    Some(TextLine {
        text: texts.join(" "),
        confidence,
        quad,
        word_confidences: words.iter().map(|word| word.confidence).collect(),
    })
}

#[cfg(test)]
mod tests;
