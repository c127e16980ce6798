//! The template environment: the templates of `templates/`, strict, with every printed value quoted for the shell.

use std::sync::LazyLock;

use minijinja::value::{Value, ValueKind};
use minijinja::{AutoEscape, Environment, ErrorKind, Output, State, UndefinedBehavior};

use crate::digest::{KeyBuilder, Sha256};
use crate::failure::Phase;

/// The error for a value that cannot be printed in a script, such as one with a NUL character.
#[derive(Debug, thiserror::Error)]
#[error("template {template} cannot be rendered: {cause}")]
pub struct ScriptError {
    /// The template's file name.
    pub template: &'static str,
    /// The cause, with the line in the template.
    pub cause: Box<minijinja::Error>,
}

/// Name and text of every template.
pub(super) const TEMPLATES: [(&str, &str); 13] = [
    ("answers.sh", include_str!("../../templates/answers.sh")),
    ("checks.sh", include_str!("../../templates/checks.sh")),
    ("configure.sh", include_str!("../../templates/configure.sh")),
    (
        "debug_information.sh",
        include_str!("../../templates/debug_information.sh"),
    ),
    ("download.sh", include_str!("../../templates/download.sh")),
    (
        "kbuild_checks.sh",
        include_str!("../../templates/kbuild_checks.sh"),
    ),
    ("kernel.sh", include_str!("../../templates/kernel.sh")),
    ("module.sh", include_str!("../../templates/module.sh")),
    ("prepare.sh", include_str!("../../templates/prepare.sh")),
    ("prelude.sh", include_str!("../../templates/prelude.sh")),
    ("programs.sh", include_str!("../../templates/programs.sh")),
    ("probe.sh", include_str!("../../templates/probe.sh")),
    ("source.sh", include_str!("../../templates/source.sh")),
];

static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = empty_environment();
    for (name, text) in TEMPLATES {
        // A template that does not parse is reported when it is rendered, with its line.
        drop(environment.add_template(name, text));
    }
    environment
});

/// An environment without templates.
pub(super) fn empty_environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| AutoEscape::Custom("sh".into()));
    environment.set_formatter(print_quoted);
    environment
}

/// Prints strings and numbers as one word of the shell; anything else is an error in the template.
fn print_quoted(
    output: &mut Output,
    _state: &mut State,
    value: &Value,
) -> Result<(), minijinja::Error> {
    let text = match value.kind() {
        ValueKind::String | ValueKind::Number => value.to_string(),
        kind => {
            return Err(minijinja::Error::new(
                ErrorKind::InvalidOperation,
                format!("cannot print a value of kind {kind}: expected a string or a number"),
            ));
        }
    };
    let quoted = shlex::try_quote(&text)
        .map_err(|error| minijinja::Error::new(ErrorKind::BadSerialization, error.to_string()))?;
    output.write_str(&quoted)?;
    Ok(())
}

/// Renders a template of [`TEMPLATES`].
pub(super) fn render(template: &'static str, settings: Value) -> Result<String, ScriptError> {
    ENVIRONMENT
        .get_template(template)
        .and_then(|found| found.render(settings))
        .map_err(|cause| ScriptError {
            template,
            cause: Box::new(cause),
        })
}

/// Returns a digest over the templates of a step's script, for the step's key. (Usually the rendered script itself is
/// part of the key. A job of checks, however, is composed of all checks without cached answers, so the key of a single
/// check needs this.)
pub fn template_digest(phase: Phase) -> Sha256 {
    let names: &[&str] = match phase {
        Phase::Fetch => &["prelude.sh", "download.sh"],
        Phase::Prepare => &["prelude.sh", "source.sh", "prepare.sh"],
        Phase::Configure => &["prelude.sh", "configure.sh"],
        Phase::Check => &[
            "prelude.sh",
            "debug_information.sh",
            "kbuild_checks.sh",
            "checks.sh",
        ],
        Phase::Module => &[
            "prelude.sh",
            "answers.sh",
            "debug_information.sh",
            "module.sh",
        ],
        Phase::Probe => &["prelude.sh", "answers.sh", "probe.sh"],
        _ => &[],
    };
    digest_of(names)
}

/// Returns the digest of the templates that compile programs of header trees. The trees determine which programs those
/// are.
pub fn template_of_programs() -> Sha256 {
    digest_of(&["prelude.sh", "programs.sh"])
}

fn digest_of(names: &[&str]) -> Sha256 {
    let of_step = TEMPLATES.iter().filter(|(name, _)| names.contains(name));
    of_step
        .fold(KeyBuilder::new("template", 1), |key, (name, text)| {
            key.field(*name, text)
        })
        .key()
}
