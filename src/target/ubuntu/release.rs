//! The formats of Ubuntu's releases: that of `uname -r`, and that of lists, which ends in the pool's name.

use super::super::TargetError;

/// A release, split into its parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Release<'a> {
    /// The upstream version: `5.15.0`.
    pub(super) version: &'a str,
    /// Version and ABI number: `5.15.0-91`.
    abi: &'a str,
    /// The kernel version in the release itself, in the rare formats `5.15.0-1029.36_lowlatency` and
    /// `6.11.0-1003.3+2-gcp`.
    upload: Option<&'a str>,
    /// Flavour or pool: `generic-64k`, `hwe-5.4`; empty for generic.
    pub(super) suffix: &'a str,
}

impl<'a> Release<'a> {
    pub(super) fn parse(release: &'a str) -> Result<Self, TargetError> {
        Self::cut(release).ok_or_else(|| {
            TargetError::release(
                "a release of Ubuntu is version, ABI number and flavour, as in `5.15.0-91-generic`",
            )
        })
    }

    fn cut(release: &'a str) -> Option<Self> {
        let (version, rest) = release.split_once('-')?;
        let is_number =
            |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if version.split('.').count() != 3 || !version.split('.').all(is_number) {
            return None;
        }
        let end = rest
            .find(|other: char| !other.is_ascii_digit())
            .unwrap_or(rest.len());
        let (number, rest) = rest.split_at(end);
        if !is_number(number) {
            return None;
        }
        let abi = &release[..version.len() + 1 + number.len()];
        let (upload, suffix) = match rest.chars().next() {
            None => (None, ""),
            Some('-' | '_') => (None, &rest[1..]),
            Some('.') => {
                let (upload, suffix) = rest[1..].split_once(['_', '-'])?;
                (Some(upload), suffix)
            }
            Some(_) => return None,
        };
        // A flavour starts with a letter. `amd64` ends Debian's releases, and `x86_64` those of rpm packages.
        let is_flavour = suffix.is_empty() && rest.is_empty()
            || suffix.starts_with(|first: char| first.is_ascii_lowercase());
        let mut words = suffix.trim_end_matches('+').split('-');
        let is_foreign = words.any(|word| matches!(word, "amd64" | "arm64" | "pve" | "default"))
            || suffix.ends_with("x86_64")
            || suffix.ends_with("aarch64");
        (is_flavour && !is_foreign).then_some(Self {
            version,
            abi,
            upload,
            suffix,
        })
    }

    /// Version and ABI number: `5.15.0-91`.
    pub(super) fn abi(&self) -> &'a str {
        self.abi
    }

    /// The first two numbers: `5.15`.
    pub(super) fn line(&self) -> &'a str {
        let end = self.version.rfind('.').unwrap_or(self.version.len());
        &self.version[..end]
    }

    /// The ABI number.
    pub(super) fn abi_number(&self) -> u32 {
        let number = self.abi.rsplit('-').next().unwrap_or_default();
        number.parse().unwrap_or_default()
    }

    /// Returns the kernel's version: from the release, else `known`.
    pub(super) fn version_of(&self, known: &'a str) -> &'a str {
        self.upload.unwrap_or(known)
    }

    /// Returns the flavour, and another one that lists since 2023 shorten to the same word.
    pub(super) fn flavours(&self) -> [&'a str; 2] {
        let flavour = flavour_of(self.suffix);
        [
            flavour,
            if flavour == "intel" {
                "intel-iotg"
            } else {
                flavour
            },
        ]
    }

    /// Returns the output of `uname -r`.
    pub(super) fn uts_release(&self, flavour: &str) -> String {
        format!("{}-{flavour}", self.abi)
    }

    /// Returns the name of the flavour's package.
    pub(super) fn tree_package(&self, flavour: &str) -> String {
        format!("linux-headers-{}-{flavour}", self.abi)
    }

    /// Returns true if a package of this name can be the one shared by flavours.
    pub(super) fn is_common_package(&self, name: &str) -> bool {
        name.strip_prefix("linux-")
            .and_then(|name| name.strip_suffix(self.abi))
            .is_some_and(|middle| middle == "headers-" || middle.ends_with("-headers-"))
    }
}

/// Returns the flavour of a pool: without its line (`-5.4`), then without `-hwe` or `-edge`. Flavours are returned
/// unchanged.
fn flavour_of(suffix: &str) -> &str {
    let bare = without_line(suffix);
    let bare = ["-hwe", "-edge"]
        .iter()
        .find_map(|end| bare.strip_suffix(end))
        .unwrap_or(bare);
    if bare.is_empty() || bare == "hwe" || bare.starts_with("lts-") {
        "generic"
    } else {
        bare
    }
}

/// Returns a pool without its line: `aws` of `aws-5.4`.
pub(super) fn without_line(suffix: &str) -> &str {
    match suffix.rsplit_once('-') {
        Some((bare, line)) if is_line(line) => bare,
        _ => suffix,
    }
}

fn is_line(text: &str) -> bool {
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    text.split('.').count() == 2 && text.split('.').all(is_number)
}
