//! The kind of a file, recognised by its first bytes.

use std::fmt;

/// How many bytes from the start of a file are checked.
pub(super) const HEAD_BYTES: usize = 512;

/// What a download is expected to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ContentKind {
    /// Anything; the first bytes are not checked.
    Any,
    /// A Debian package.
    Deb,
    /// An rpm.
    Rpm,
    /// A tar archive: compressed by gzip, xz, zstd or bzip2, or plain.
    Tarball,
    /// A Debian package, an rpm or a tar archive.
    Package,
    /// A kernel's configuration.
    Configuration,
    /// Text that is not an HTML page.
    Text,
}

impl ContentKind {
    /// Returns the expected kind of a header package or kernel source, by the suffix of its URL.
    pub fn of_address(address: &str) -> Self {
        let name = address.split(['?', '#']).next().unwrap_or(address);
        let ends = |endings: &[&str]| endings.iter().any(|ending| name.ends_with(ending));
        if ends(&[".deb"]) {
            Self::Deb
        } else if ends(&[".rpm"]) {
            Self::Rpm
        } else if ends(&[".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.zst", ".tar.bz2"]) {
            Self::Tarball
        } else {
            Self::Package
        }
    }

    /// Whether a file that starts with `head` (its first 512 bytes, or all of it) can be of this kind.
    pub(super) fn matches(self, head: &[u8]) -> bool {
        match self {
            Self::Any => true,
            Self::Deb => head.starts_with(b"!<arch>\n"),
            Self::Rpm => head.starts_with(&[0xed, 0xab, 0xee, 0xdb]),
            Self::Package => [Self::Deb, Self::Rpm, Self::Tarball]
                .iter()
                .any(|kind| kind.matches(head)),
            // A generated configuration starts with a few lines of comment.
            Self::Configuration => {
                Self::Text.matches(head) && String::from_utf8_lossy(head).contains("CONFIG_")
            }
            Self::Text => !is_html(head) && !head.contains(&0),
            Self::Tarball => {
                let compressed: [&[u8]; 4] = [
                    &[0x1f, 0x8b],
                    &[0xfd, b'7', b'z', b'X', b'Z', 0],
                    &[0x28, 0xb5, 0x2f, 0xfd],
                    b"BZh",
                ];
                compressed.iter().any(|magic| head.starts_with(magic))
                    || head.get(257..262) == Some(b"ustar")
            }
        }
    }

    /// Whether the text of a file is truncated. If the server sends no length, only the content
    /// shows this; a truncated archive is detected when it is unpacked.
    pub fn is_cut_off(self, text: &[u8]) -> bool {
        if self != Self::Configuration {
            return false;
        }
        let menu_end = |line: &[u8]| line.starts_with(b"# end of ");
        let mut lines = text.split(|&byte| byte == b'\n');
        // Newer kernels mark the end of each menu, and every option is inside a menu.
        let has_menus = lines.clone().any(menu_end);
        let last = lines.rfind(|line| !line.trim_ascii().is_empty());
        !text.ends_with(b"\n") || (has_menus && !last.is_some_and(menu_end))
    }
}

impl fmt::Display for ContentKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Any => "file",
            Self::Deb => "Debian package",
            Self::Rpm => "rpm",
            Self::Tarball => "tarball",
            Self::Package => "package or tarball",
            Self::Configuration => "kernel configuration",
            Self::Text => "text",
        })
    }
}

/// Whether a file that starts with `head` is an HTML page, which many servers and proxies return
/// with status 200 for a missing file.
pub(super) fn is_html(head: &[u8]) -> bool {
    let text = String::from_utf8_lossy(head).to_ascii_lowercase();
    let text = text.trim_start_matches('\u{feff}').trim_start();
    ["<!doctype html", "<html", "<head", "<body", "<?xml", "<!--"]
        .iter()
        .any(|start| text.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_bytes_tell_the_kind() {
        let mut tar = vec![0; 512];
        tar[257..262].copy_from_slice(b"ustar");
        for (kind, head, expected) in [
            (ContentKind::Deb, &b"!<arch>\ndebian-binary"[..], true),
            (ContentKind::Deb, b"!<arch", false),
            (ContentKind::Deb, b"\x1f\x8b", false),
            (ContentKind::Rpm, b"\xed\xab\xee\xdb\x03\x00", true),
            (ContentKind::Rpm, b"!<arch>\n", false),
            (ContentKind::Tarball, b"\x1f\x8b\x08", true),
            (ContentKind::Tarball, &tar, true),
            (ContentKind::Tarball, &tar[..200], false),
            (ContentKind::Tarball, b"!<arch>\n", false),
            (ContentKind::Rpm, b"\xed\xab\xee\xdb\x03", true),
            (ContentKind::Rpm, b"!<arch>\n", false),
            (ContentKind::Package, b"\xed\xab\xee\xdb\x03", true),
            (ContentKind::Package, b"!<arch>\n", true),
            (ContentKind::Package, b"\x28\xb5\x2f\xfd", true),
            (ContentKind::Package, b"Not found", false),
            (ContentKind::Any, b"", true),
            (
                ContentKind::Configuration,
                b"#\n# Linux/x86 5.15.63\n#\nCONFIG_GCC_VERSION=100300\n",
                true,
            ),
            (ContentKind::Configuration, b"No such release\n", false),
            (
                ContentKind::Configuration,
                b"<html>CONFIG_X86_64=y</html>",
                false,
            ),
            (ContentKind::Text, b"sys-devel/gcc-10.3.0::x\n", true),
            (ContentKind::Text, b" <!DOCTYPE html>", false),
            (ContentKind::Text, b"\x1f\x8b\x08\x00", false),
        ] {
            assert_eq!(kind.matches(head), expected, "{kind} {head:?}");
        }
    }

    #[test]
    fn configuration_without_its_end_is_cut_off() {
        let whole = b"CONFIG_X86_64=y\n#\n# Printing\n#\nCONFIG_PRINTK=y\n# end of Printing\n# end of Kernel hacking\n";
        let is_cut_off = |text: &[u8]| ContentKind::Configuration.is_cut_off(text);
        assert!(!is_cut_off(whole));
        let printk = whole.windows(6).position(|part| part == b"PRINTK").unwrap();
        for end in [10, 16, printk, whole.len() - 1] {
            // Before the first end of a menu, only an incomplete line shows the truncation.
            assert_eq!(is_cut_off(&whole[..end]), end != 16, "{end}");
        }
        assert!(is_cut_off(&[&whole[..], b"CONFIG_MORE=y\n"].concat()));
        // Kernels before 5.0 mark no ends.
        assert!(!is_cut_off(b"CONFIG_X86_64=y\nCONFIG_PRINTK=y\n"));
        assert!(!ContentKind::Text.is_cut_off(b"no line"));
    }

    #[test]
    fn the_address_tells_what_is_expected() {
        for (address, kind) in [
            (
                "http://a/pool/l/linux-headers_1_amd64.deb",
                ContentKind::Deb,
            ),
            (
                "http://a/kernel-devel-4.18.0-305.el8.x86_64.rpm?x=1",
                ContentKind::Rpm,
            ),
            (
                "https://a/linux-headers-6.1.pkg.tar.zst",
                ContentKind::Tarball,
            ),
            (
                "https://a/snapshot/linux-6.4-rc1.tar.gz",
                ContentKind::Tarball,
            ),
            ("https://a/download?id=7", ContentKind::Package),
        ] {
            assert_eq!(ContentKind::of_address(address), kind, "{address}");
        }
    }

    #[test]
    fn web_pages_are_recognised() {
        for page in ["<!DOCTYPE html>", "\n  <HTML lang=en>", "\u{feff}<html>"] {
            assert!(is_html(page.as_bytes()), "{page}");
        }
        assert!(!is_html(b"!<arch>\n"));
    }
}
