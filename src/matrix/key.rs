//! The fields `key` and `password` of tables with a private key.

use std::path::Path;

use crate::sign::Key;

/// Reads the `key` of a table.
pub(super) fn read_key(
    table: &str,
    text: &str,
    folder: &Path,
) -> Result<Key, (String, &'static str)> {
    if !text.starts_with("pkcs11:") {
        return Ok(Key::File(folder.join(text)));
    }
    if text.contains("pin-value") {
        return Err((
            format!("the `pkcs11:` URI in {table} has the PIN of the token"),
            "put the PIN into an environment variable, and write password = \"ITS_NAME\"",
        ));
    }
    Ok(Key::Token(text.to_owned()))
}

/// Whether this can be the name of an environment variable.
pub(super) fn is_variable(name: &str) -> bool {
    let is_letter = |found: char| found.is_ascii_alphabetic() || found == '_';
    name.starts_with(is_letter)
        && name
            .chars()
            .all(|found| is_letter(found) || found.is_ascii_digit())
}
