//! The fields `key` and `password` of tables with a private key.

use std::path::Path;

use toml::Spanned;

use super::section::{Reader, Section};
use crate::sign::Key;

/// Reads the `key` of the table `[table]`; paths are relative to `folder`.
pub(super) fn read_key(
    reader: &mut Reader,
    section: &mut Section<'_>,
    table: &str,
    folder: &Path,
) -> Option<Spanned<Key>> {
    let text = section.text(reader, "key", "a path or a pkcs11: URI")?;
    let Some(key) = Key::parse(text.get_ref(), folder) else {
        // The error must not show the line, which contains the PIN.
        reader.error(
            section.span.clone(),
            format!("the `pkcs11:` URI in [{table}] contains the PIN of the token"),
            "",
            Some(
                "pass the PIN in an environment variable, and write password = \"NAME\"".to_owned(),
            ),
        );
        return None;
    };
    Some(Spanned::new(text.span(), key))
}

/// Reads the `password` of the table `[table]`: the name of an environment variable.
pub(super) fn read_password(
    reader: &mut Reader,
    section: &mut Section<'_>,
    table: &str,
) -> Option<Spanned<String>> {
    let name = section.text(reader, "password", "the name of an environment variable")?;
    if !is_variable(name.get_ref()) {
        // The error must not show the line, which may contain the password itself.
        reader.error(
            section.span.clone(),
            format!("`password` in [{table}] is not the name of an environment variable"),
            "",
            Some(
                "pass the password in an environment variable, and write password = \"NAME\""
                    .to_owned(),
            ),
        );
    }
    Some(name)
}

/// Returns true if this is a valid name of an environment variable.
fn is_variable(name: &str) -> bool {
    let is_letter = |found: char| found.is_ascii_alphabetic() || found == '_';
    name.starts_with(is_letter)
        && name
            .chars()
            .all(|found| is_letter(found) || found.is_ascii_digit())
}
