//! The table `[signing]`.

use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::DeValue;

use super::key::{read_key, read_password};
use super::section::{Reader, Section, folder_of};
use crate::sign::{About, Hash, Settings};

/// The settings for signing modules, and their positions in the file.
#[derive(Clone, Debug)]
pub struct Signing {
    /// The settings.
    pub settings: Settings,
    table: Range<usize>,
    key: Option<Range<usize>>,
    certificate: Option<Range<usize>>,
    command: Option<Range<usize>>,
    password: Option<Range<usize>>,
}

impl Signing {
    /// Returns the position of a setting; that of the table if the setting is missing.
    pub fn span(&self, about: About) -> Range<usize> {
        let span = match about {
            About::Key => &self.key,
            About::Certificate => &self.certificate,
            About::Command => &self.command,
            About::Password => &self.password,
            About::Machine => &None,
        };
        span.clone().unwrap_or_else(|| self.table.clone())
    }

    pub(super) fn read(reader: &mut Reader, mut section: Section<'_>) -> Option<Self> {
        let before = reader.diagnostics.len();
        let folder = folder_of(&reader.file.path).to_owned();
        let key = read_key(reader, &mut section, "signing", &folder);
        let certificate = section.text(reader, "certificate", "a path");
        let hash = section.parsed(
            reader,
            "hash",
            "sha256, sha384 or sha512",
            str::parse::<Hash>,
        );
        let command = read_command(reader, &mut section, &folder);
        let password = read_password(reader, &mut section, "signing");
        if section.value("certificate").is_none() {
            section.missing(reader, "certificate", "write certificate = \"signing.pem\"");
        }
        if section.value("key").is_none() && command.is_none() {
            section.missing(
                reader,
                "key",
                "write key = \"signing.key\" or key = \"pkcs11:token=NAME;object=NAME\"",
            );
        }
        let table = section.span.clone();
        section.finish(reader);
        let certificate = certificate.filter(|_| reader.diagnostics.len() == before)?;
        let (command_span, command) = command.map_or((None, Vec::new()), |command| {
            (Some(command.span()), command.into_inner())
        });
        Some(Self {
            settings: Settings {
                key: key.as_ref().map(|key| key.get_ref().clone()),
                certificate: folder.join(certificate.get_ref()),
                hash: hash.unwrap_or_default(),
                command,
                password: password.as_ref().map(|name| name.get_ref().clone()),
            },
            table,
            key: key.map(|key| key.span()),
            certificate: Some(certificate.span()),
            command: command_span,
            password: password.map(|name| name.span()),
        })
    }
}

/// Reads the words of `command`. A relative path of a program is resolved from the directory of the matrix.
fn read_command(
    reader: &mut Reader,
    section: &mut Section<'_>,
    folder: &Path,
) -> Option<Spanned<Vec<String>>> {
    let value = section.value("command")?;
    let DeValue::Array(array) = value.get_ref() else {
        reader.wrong_type("command", "an array of words of the command", value);
        return None;
    };
    let words = array.iter();
    let words = words.filter_map(|word| reader.text("command", "a word of the command", word));
    let mut words: Vec<String> = words.map(Spanned::into_inner).collect();
    match words.first_mut() {
        Some(program) if program.contains('/') => {
            *program = folder.join(&*program).to_string_lossy().into_owned();
        }
        Some(_) => {}
        None => reader.error(value.span(), "`command` is empty", "", None),
    }
    Some(Spanned::new(value.span(), words))
}
