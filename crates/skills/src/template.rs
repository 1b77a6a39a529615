//! Templates: text with `{{ expression }}` in it (minijinja), bounded in time and size.

use std::{collections::BTreeSet, sync::LazyLock};

use minijinja::{Environment, UndefinedBehavior, Value, value::Rest};
use serde_json::{Map, Value as Json};

use crate::dispatch::term_matches;

/// Instructions that one rendering may execute. A template that loops for ever stops here.
const FUEL: u64 = 200_000;
/// Longest rendered text, in bytes.
pub(crate) const MAX_RENDERED_BYTES: usize = 256 << 10;

static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::SemiStrict);
    environment.set_fuel(Some(FUEL));
    environment.set_recursion_limit(64);
    environment.set_trim_blocks(true);
    environment.set_lstrip_blocks(true);
    environment.add_test("mentioning", |text: String, terms: Rest<String>| {
        terms.iter().any(|term| term_matches(&text, term))
    });
    environment
});

/// Why a template cannot be read or rendered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TemplateError(String);

impl From<minijinja::Error> for TemplateError {
    fn from(error: minijinja::Error) -> Self {
        let detail = error
            .detail()
            .map(|detail| format!(": {detail}"))
            .unwrap_or_default();
        let line = error
            .line()
            .map(|line| format!(" (line {line})"))
            .unwrap_or_default();
        Self(format!("{}{detail}{line}", error.kind()))
    }
}

/// A template that parses. Beside minijinja's own filters and tests it knows the test
/// `text is mentioning("row*", "line*")`: whether one of the terms stands in the text, a star
/// standing for any ending.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    source: String,
    /// Where the whole source is one `{{ expression }}`: the expression.
    expression: Option<String>,
    names: BTreeSet<String>,
    /// The same with the attributes that are read of them, `name.attribute`.
    paths: BTreeSet<String>,
}

impl Template {
    /// Parses a template.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(source: impl Into<String>) -> Result<Self, TemplateError> {
        let source = source.into();
        let parsed = ENVIRONMENT.template_from_str(&source)?;
        let names = parsed.undeclared_variables(false);
        let paths = parsed.undeclared_variables(true).into_iter().collect();
        drop(parsed);
        let expression = sole_expression(&source)
            .filter(|inner| ENVIRONMENT.compile_expression(inner).is_ok())
            .map(str::to_owned);
        Ok(Self {
            source,
            expression,
            names: without_globals(names),
            paths,
        })
    }

    /// Parses a bare expression, as a condition is written.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse_expression(source: &str) -> Result<Self, TemplateError> {
        if closes_early(source) {
            return Err(TemplateError("a bare expression has no }}".to_owned()));
        }
        let parsed = ENVIRONMENT.compile_expression(source)?;
        let names = parsed.undeclared_variables(false);
        let paths = parsed.undeclared_variables(true).into_iter().collect();
        Ok(Self {
            source: source.to_owned(),
            expression: Some(source.to_owned()),
            names: without_globals(names),
            paths,
        })
    }

    /// Its text.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The variables that it reads.
    pub fn names(&self) -> &BTreeSet<String> {
        &self.names
    }

    /// The attributes that it reads of a variable.
    pub(crate) fn members(&self, variable: &str) -> impl Iterator<Item = &str> {
        self.paths.iter().filter_map(move |path| {
            let member = path.strip_prefix(variable)?.strip_prefix('.')?;
            member.split('.').next()
        })
    }

    /// Renders to text.
    ///
    /// # Errors
    /// An undefined value, a loop that does not end, or more text than a prompt may have.
    pub fn render(&self, context: &Map<String, Json>) -> Result<String, TemplateError> {
        let template = ENVIRONMENT.template_from_str(&self.source)?;
        let mut sink = BoundedText::default();
        match template.render_captured_to(context, &mut sink) {
            Ok(_) => Ok(String::from_utf8_lossy(&sink.0).into_owned()),
            Err(_) if sink.0.len() >= MAX_RENDERED_BYTES => Err(TemplateError(format!(
                "renders to more than {MAX_RENDERED_BYTES} bytes"
            ))),
            Err(error) => Err(error.into()),
        }
    }

    /// The value: of the expression where the source is a single one, else the rendered text.
    ///
    /// # Errors
    /// As [`Self::render`].
    pub fn value(&self, context: &Map<String, Json>) -> Result<Json, TemplateError> {
        let Some(expression) = &self.expression else {
            return self.render(context).map(Json::String);
        };
        let value = ENVIRONMENT.compile_expression(expression)?.eval(context)?;
        if value.is_undefined() {
            return Ok(Json::Null);
        }
        serde_json::to_value(&value).map_err(|error| TemplateError(error.to_string()))
    }

    /// Whether the value counts as true.
    ///
    /// # Errors
    /// As [`Self::render`].
    pub fn is_true(&self, context: &Map<String, Json>) -> Result<bool, TemplateError> {
        self.value(context)
            .map(|value| Value::from_serialize(value).is_true())
    }
}

/// The inside of `{{ … }}` where that is the whole text.
fn sole_expression(source: &str) -> Option<&str> {
    let inner = source.trim().strip_prefix("{{")?.strip_suffix("}}")?;
    let plain = !inner.contains("{{") && !inner.contains("}}") && !inner.contains("{%");
    plain.then(|| inner.trim_matches('-').trim())
}

/// Whether `}}` stands outside of brackets and texts, which would end a `{{ … }}`. minijinja (2.24)
/// panics on what follows it in an expression that is none.
fn closes_early(expression: &str) -> bool {
    let mut depth = 0_usize;
    let mut quote = None;
    let mut bytes = expression.bytes().peekable();
    while let Some(byte) = bytes.next() {
        match (quote, byte) {
            (Some(_), b'\\') => {
                bytes.next();
            }
            (Some(end), _) if byte == end => quote = None,
            (Some(_), _) => {}
            (None, b'\'' | b'"') => quote = Some(byte),
            (None, b'(' | b'[' | b'{') => depth += 1,
            (None, b'}') if depth == 0 && bytes.peek() == Some(&b'}') => return true,
            (None, b')' | b']' | b'}') => depth = depth.saturating_sub(1),
            (None, _) => {}
        }
    }
    false
}

fn without_globals(names: std::collections::HashSet<String>) -> BTreeSet<String> {
    let globals: BTreeSet<&str> = ENVIRONMENT.globals().map(|(name, _)| name).collect();
    names
        .into_iter()
        .filter(|name| !globals.contains(name.as_str()))
        .collect()
}

#[derive(Default)]
struct BoundedText(Vec<u8>);

impl std::io::Write for BoundedText {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.0.len() + bytes.len() > MAX_RENDERED_BYTES {
            self.0.resize(MAX_RENDERED_BYTES, b' ');
            return Err(std::io::Error::other("too long"));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn context() -> Map<String, Json> {
        json!({"find": {"value": "4,5", "boxes": [[1, 2, 3, 4]]}, "skipped": null, "question": "How many Rows?"})
            .as_object()
            .unwrap()
            .clone()
    }

    #[test]
    fn a_sole_expression_keeps_its_type() {
        let value = |source: &str| Template::parse(source).unwrap().value(&context()).unwrap();
        assert_eq!(value("{{ find.boxes[0] }}"), json!([1, 2, 3, 4]));
        assert_eq!(value("{{ find.value }}!"), json!("4,5!"));
        assert_eq!(value("{{ skipped.value or find.value }}"), json!("4,5"));
        assert_eq!(
            value("{{ 'yes' if question is mentioning('row*') else 'no' }}"),
            json!("yes")
        );
        assert_eq!(
            value("{{ (find.value | split(',') | first | int) * 2 }}"),
            json!(8)
        );
    }

    #[test]
    fn an_expression_that_closes_what_it_did_not_open_is_an_error() {
        for source in ["query }} and {{ query", "query }}x", "a)}} b", "'it' }} 's"] {
            assert!(Template::parse_expression(source).is_err(), "{source}");
        }
        let nested = Template::parse_expression("{'a': {'b': 1}}.a.b == 1 and '}}' == \"}}\"");
        assert!(nested.unwrap().is_true(&context()).unwrap());
    }

    #[test]
    fn names_are_the_free_variables() {
        let template = Template::parse(
            "{% set a = find.value %}{{ a }}{% for x in range(3) %}{{ x }}{% endfor %}",
        )
        .unwrap();
        assert_eq!(template.names().iter().collect::<Vec<_>>(), ["find"]);
    }

    #[test]
    fn endless_and_bloated_templates_stop() {
        let render = |source: &str| Template::parse(source).unwrap().render(&context());
        let endless =
            "{% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}{% endfor %}";
        render(endless).unwrap_err();
        let bloated = "{% for a in range(9999) %}{{ 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx' }}{% endfor %}";
        assert!(render(bloated).unwrap_err().to_string().contains("bytes"));
        render("{{ find.typo }}").unwrap_err();
        Template::parse("{{ find.").unwrap_err();
    }
}
