//! Finds arrays that are never closed: a TOML parser reports errors in every following line, although only one place
//! is at fault.

/// Returns the position of the first array that is still open at a line that begins a table or sets a key.
pub(super) fn unclosed(text: &str) -> Option<usize> {
    let mut open: Vec<(usize, u8)> = Vec::new();
    let mut start = 0;
    let mut is_in_text: Option<&str> = None;
    for line in text.split_inclusive('\n') {
        if is_in_text.is_none()
            && let Some((position, b'[')) = open.last()
            && begins_anew(line.trim())
        {
            return Some(*position);
        }
        scan(line, start, &mut open, &mut is_in_text);
        start += line.len();
    }
    open.first().map(|(position, _)| *position)
}

/// Returns true if a line is `[table]`, `[[table]]` or `key = value`.
fn begins_anew(line: &str) -> bool {
    let is_name = |text: &str| {
        text.starts_with(|first: char| first.is_ascii_alphabetic())
            && text
                .chars()
                .all(|found| found.is_ascii_alphanumeric() || "_-.".contains(found))
    };
    let line = line.split('#').next().unwrap_or_default().trim();
    if let Some((key, _)) = line.split_once('=') {
        return is_name(key.trim());
    }
    let name = line.trim_matches(['[', ']']);
    line.starts_with('[') && is_name(name.trim())
}

/// Tracks the brackets of a line. `is_in_text` is the end mark of the multi-line string that the line is in.
fn scan(line: &str, start: usize, open: &mut Vec<(usize, u8)>, is_in_text: &mut Option<&str>) {
    let bytes = line.as_bytes();
    // The header of a table does not open an array, even if it is not closed.
    let is_header = open.is_empty() && line.trim_start().starts_with('[');
    if is_in_text.is_none() && is_header {
        return;
    }
    let mut position = 0;
    while position < bytes.len() {
        let rest = &line[position..];
        if let Some(end) = *is_in_text {
            let Some(found) = end_of_text(rest, end) else {
                if end.len() == 1 {
                    // A single-line string ends with the line.
                    *is_in_text = None;
                }
                return;
            };
            position += found + end.len();
            *is_in_text = None;
            continue;
        }
        let string = ["\"\"\"", "'''", "\"", "'"]
            .into_iter()
            .find(|mark| rest.starts_with(mark));
        if let Some(mark) = string {
            *is_in_text = Some(mark);
            position += mark.len();
            continue;
        }
        match bytes[position] {
            b'#' => return,
            bracket @ (b'[' | b'{') => open.push((start + position, bracket)),
            b']' | b'}' => drop(open.pop()),
            _ => {}
        }
        position += rest.chars().next().map_or(1, char::len_utf8);
    }
}

/// Returns the position of a string's end mark; skips escapes in strings that support them.
fn end_of_text(rest: &str, end: &str) -> Option<usize> {
    let mut is_escaped = false;
    for (position, character) in rest.char_indices() {
        if is_escaped {
            is_escaped = false;
        } else if character == '\\' && end.starts_with('"') {
            is_escaped = true;
        } else if rest[position..].starts_with(end) {
            return Some(position);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unclosed_bracket_is_found() {
        for text in [
            "a = 1\ndrivers = @[\"x\"\n\n[[target]]\nname = \"a\"\n",
            "[[target]]\nkernels = @[{ release = \"6\" }, # ]\n[defaults]\n",
            "a = \"\"\"\n[\n\"\"\"\nb = @[1, [2]\nc = 3\n",
            "b = '[' \nc = @[\"]\"\n",
        ] {
            let position = text.find('@');
            assert_eq!(unclosed(&text.replace('@', "")), position, "{text}");
        }
        for text in [
            "a = [\n  1, # [\n  [2],\n]\n[[target]]\nb = [{ c = \"[\" }]\n",
            "a = \"\\\"[\"\n[b]\n",
            "a = \"[\n[b]\n",
        ] {
            assert_eq!(unclosed(text), None, "{text}");
        }
    }
}
