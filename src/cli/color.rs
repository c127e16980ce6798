//! `--color`.

use std::ffi::OsString;

use clap::ValueEnum;

use crate::report::Style;

/// Whether messages are coloured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum ColorChoice {
    /// On a terminal, unless `NO_COLOR` is set
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

impl ColorChoice {
    /// Reads the choice from a command line that may have errors elsewhere.
    pub(super) fn given(arguments: &[OsString]) -> Self {
        let words: Vec<&str> = arguments.iter().filter_map(|word| word.to_str()).collect();
        let value = words.iter().enumerate().find_map(|(position, word)| {
            let rest = word.strip_prefix("--color")?;
            match rest.strip_prefix('=') {
                Some(value) => Some(value),
                None if rest.is_empty() => words.get(position + 1).copied(),
                None => None,
            }
        });
        let choice = value.and_then(|value| Self::from_str(value, true).ok());
        choice.unwrap_or(Self::Auto)
    }

    pub(super) fn of_clap(self) -> clap::ColorChoice {
        match self {
            Self::Auto => clap::ColorChoice::Auto,
            Self::Always => clap::ColorChoice::Always,
            Self::Never => clap::ColorChoice::Never,
        }
    }

    pub(super) fn style(self) -> Style {
        let style = Style::of_stderr();
        let has_colour = match self {
            Self::Auto => style.has_colour,
            Self::Always => true,
            Self::Never => false,
        };
        Style {
            has_colour,
            ..style
        }
    }
}
