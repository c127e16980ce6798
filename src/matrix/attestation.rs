//! The table `[attestation]`.

use std::ops::Range;

use super::key::{read_key, read_password};
use super::section::{Reader, Section, folder_of};
use crate::sign::{About, Key};

/// The settings of attestations, and their positions in the file.
#[derive(Clone, Debug)]
pub struct Attestation {
    /// The private key; attestations are not signed without one.
    pub key: Option<Key>,
    /// The environment variable with the password of the key or the PIN of the token.
    pub password: Option<String>,
    /// The URI that identifies the builder.
    pub builder: Option<String>,
    table: Range<usize>,
    key_span: Option<Range<usize>>,
    password_span: Option<Range<usize>>,
}

impl Attestation {
    /// Returns the position of a setting; that of the table if the setting is missing.
    pub fn span(&self, about: About) -> Range<usize> {
        let span = match about {
            About::Key => &self.key_span,
            About::Password => &self.password_span,
            _ => &None,
        };
        span.clone().unwrap_or_else(|| self.table.clone())
    }

    /// Returns true if two tables have the same settings.
    pub fn is_same(&self, other: &Self) -> bool {
        (&self.key, &self.password, &self.builder) == (&other.key, &other.password, &other.builder)
    }

    pub(super) fn read(reader: &mut Reader, mut section: Section<'_>) -> Option<Self> {
        let before = reader.diagnostics.len();
        let folder = folder_of(&reader.file.path).to_owned();
        let key = read_key(reader, &mut section, "attestation", &folder);
        let password = read_password(reader, &mut section, "attestation");
        let builder = section.text(reader, "builder", "a URI");
        if let Some(builder) = &builder
            && url::Url::parse(builder.get_ref()).is_err()
        {
            reader.error(
                builder.span(),
                format!("invalid `builder` `{}`: expected a URI", builder.get_ref()),
                "",
                Some("write builder = \"https://HOST/PATH\"".to_owned()),
            );
        }
        let table = section.span.clone();
        section.finish(reader);
        (reader.diagnostics.len() == before).then(|| Self {
            key: key.as_ref().map(|key| key.get_ref().clone()),
            password: password.as_ref().map(|name| name.get_ref().clone()),
            builder: builder.map(toml::Spanned::into_inner),
            table,
            key_span: key.map(|key| key.span()),
            password_span: password.map(|name| name.span()),
        })
    }
}
