//! The script of a second build: it varies the conditions that must not influence the result.

use super::ScriptError;
use super::full::END_OF_PRELUDE;

/// Parallel jobs, and a local time with another day, hour and minute. The sandbox sets the host name.
const VARIATION: &str = "export MAKEFLAGS=-j3 TZ=SECOND-23:31:17\n";

/// The host name in the sandbox of a second build.
pub const SECOND_HOST: &str = "second-builder";

/// Returns the script of an artifact with the variations of a second build.
pub fn varied(script: &str) -> Result<String, ScriptError> {
    let Some((prelude, rest)) = script.split_once(END_OF_PRELUDE) else {
        let message = "the prelude of the script does not end as expected";
        let cause = minijinja::Error::new(minijinja::ErrorKind::InvalidOperation, message);
        return Err(ScriptError {
            template: "prelude.sh",
            cause: Box::new(cause),
        });
    };
    Ok([prelude, END_OF_PRELUDE, VARIATION, rest].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variation_is_inserted_after_the_prelude() {
        let prelude = include_str!("../../templates/prelude.sh");
        let script = varied(&format!("{prelude}make\n")).unwrap();
        assert_eq!(script.matches(VARIATION).count(), 1);
        let end = format!("{END_OF_PRELUDE}{VARIATION}");
        assert!(script.contains(&end), "{script}");
        assert!(varied("make\n").is_err());
    }
}
