//! Makes a script report a full file system, whatever its own programs print.

/// The last line of the prelude that starts every script.
pub(super) const END_OF_PRELUDE: &str = "\ntrap report_resources EXIT\n";

/// Prints, at the end of a failed script, a line that [`super::classify_log`] recognises if `/tmp` has no free block or
/// inode.
const TELL_FULL: &str = "\
tell_full() {
    code=$?
    [ \"$code\" -eq 0 ] || case $(stat -f -c '%a %d/%c' \"$scratch\" 2>/dev/null) in
        '0 '* | *' 0/'[1-9]*) echo \"$scratch: No space left on device\" ;;
    esac
    report_resources
    return \"$code\"
}
trap tell_full EXIT
";

/// Returns a script that reports at its end whether `/tmp` is full. This is added when a job starts and is not part of
/// any key: it does not change the results of a script.
pub fn telling_full(script: &str) -> String {
    match script.split_once(END_OF_PRELUDE) {
        Some((prelude, rest)) => [prelude, END_OF_PRELUDE, TELL_FULL, rest].concat(),
        None => script.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// Runs a script after the prelude, with `stat` as the output of the program of that name.
    fn run(stat: &str, script: &str) -> (Option<i32>, String) {
        let folder = tempfile::tempdir().unwrap();
        let prelude = include_str!("../../templates/prelude.sh");
        let stat = format!("stat() {{ echo '{stat}'; }}\n");
        let text = telling_full(&format!("{prelude}{stat}{script}\n"));
        let output = Command::new("sh")
            .args(["-c", &text])
            .env("DRIVERKIT_MATRIX_OUT", folder.path())
            .env("DRIVERKIT_MATRIX_SCRATCH", folder.path())
            .output()
            .unwrap();
        assert!(folder.path().join(".resources").exists());
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.code(), text)
    }

    #[test]
    fn a_failed_script_reports_a_full_file_system() {
        for (stat, script, code, is_said) in [
            ("0 99/100", "exit 7", 7, true),
            ("99 0/100", "false", 1, true),
            ("99 0/0", "exit 7", 7, false),
            ("99 99/100", "exit 7", 7, false),
            ("0 0/100", "true", 0, false),
        ] {
            let (found, text) = run(stat, script);
            assert_eq!(found, Some(code), "{stat} {script}: {text}");
            let line = "/build: No space left on device\n";
            assert_eq!(text.ends_with(line), is_said, "{stat} {script}: {text}");
        }
    }
}
