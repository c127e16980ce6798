//! The configuration file.

use std::collections::BTreeMap;
use std::sync::Arc;

use toml::de::{DeTable, DeValue};

use super::keys::{KEYS, LISTS, ONLY_FLAGS};
use super::values::{Given, Origin};
use crate::diagnostic::{Diagnostic, Place, SourceFile, did_you_mean};
use crate::yaml::{self, Node, Value};

/// The values in a file, by key.
pub type OfFile = BTreeMap<&'static str, Given>;

/// Reads the values of a file, by key, with warnings; the error has all faults.
pub fn read_file(file: &Arc<SourceFile>) -> Result<(OfFile, Vec<Diagnostic>), Vec<Diagnostic>> {
    let mut reader = FileReader {
        file,
        given: BTreeMap::new(),
        nested: Vec::new(),
        faults: Vec::new(),
        warnings: Vec::new(),
    };
    let is_toml = file.path.extension().is_some_and(|found| found == "toml");
    let node = if is_toml {
        read_toml(file)
    } else {
        reader.read_yaml()
    };
    let node = node.map_err(|fault| vec![fault])?;
    let Value::Map(entries) = &node.value else {
        let fault = Diagnostic::error("the file is not a mapping of keys to values");
        let fault = fault.help("write lines such as `target: debian`");
        return Err(vec![fault.at(reader.place(&node), "")]);
    };
    for (key, value) in entries {
        reader.entry(key, value);
    }
    reader.put_nested();
    if reader.faults.is_empty() {
        Ok((reader.given, reader.warnings))
    } else {
        Err(reader.faults)
    }
}

/// Returns an error at the end of a file's first document if there are several.
pub(super) fn several_documents(file: &Arc<SourceFile>) -> Option<Diagnostic> {
    let place = Place {
        file: Arc::clone(file),
        span: yaml::end_of_first_document(&file.text)?,
    };
    Some(
        Diagnostic::error("the file contains several YAML documents")
            .at(place, "the first ends here"),
    )
}

/// Reads a TOML file; scalars keep their original text.
fn read_toml(file: &Arc<SourceFile>) -> Result<Node, Diagnostic> {
    fn node(text: &str, value: &toml::Spanned<DeValue<'_>>) -> Node {
        let span = value.span();
        let value = match value.get_ref() {
            DeValue::String(text) => Value::Text(text.to_string()),
            DeValue::Array(items) => Value::List(items.iter().map(|one| node(text, one)).collect()),
            DeValue::Table(table) => map(text, table),
            _ => Value::Text(text.get(span.clone()).unwrap_or_default().to_owned()),
        };
        Node { span, value }
    }
    fn map(text: &str, table: &DeTable<'_>) -> Value {
        let entry = |(key, value): (&toml::Spanned<std::borrow::Cow<'_, str>>, &_)| {
            let name = Node {
                span: key.span(),
                value: Value::Text(key.get_ref().to_string()),
            };
            (name, node(text, value))
        };
        Value::Map(table.iter().map(entry).collect())
    }
    if let Some(marker) = file.conflict_marker() {
        return Err(marker);
    }
    let table = DeTable::parse(&file.text).map_err(|error| {
        let place = Place {
            file: Arc::clone(file),
            span: error.span().unwrap_or_default(),
        };
        Diagnostic::error(format!("not valid TOML: {}", error.message())).at(place, "")
    })?;
    Ok(Node {
        span: table.span(),
        value: map(&file.text, table.get_ref()),
    })
}

struct FileReader<'a> {
    file: &'a Arc<SourceFile>,
    given: BTreeMap<&'static str, Given>,
    /// The entries of `output`, which are only used if the flat keys are missing.
    nested: Vec<(&'static str, Node, Node)>,
    faults: Vec<Diagnostic>,
    warnings: Vec<Diagnostic>,
}

impl FileReader<'_> {
    /// Reads the first YAML document, as driverkit does.
    fn read_yaml(&mut self) -> Result<Node, Diagnostic> {
        let Some(fault) = several_documents(self.file) else {
            return yaml::read_node(self.file);
        };
        let end = fault.place().map_or(0, |place| place.span.start);
        let first = SourceFile {
            path: self.file.path.clone(),
            text: self.file.text[..end].to_owned(),
        };
        self.warnings.push(
            fault
                .as_warning()
                .help("only the first is used, as in driverkit: a file describes one build"),
        );
        yaml::read_node(&Arc::new(first))
    }

    fn place(&self, node: &Node) -> Place {
        Place {
            file: Arc::clone(self.file),
            span: node.span.clone(),
        }
    }

    fn fault(&mut self, node: &Node, message: String, help: Option<String>) {
        let fault = Diagnostic::error(message).at(self.place(node), "");
        self.faults.push(fault.maybe_help(help));
    }

    fn entry(&mut self, key: &Node, value: &Node) {
        // driverkit ignores the case of keys.
        let name = key.text().unwrap_or_default().to_lowercase();
        if let ("output", Value::Map(entries)) = (name.as_str(), &value.value) {
            for (key, value) in entries {
                let part = key.text().unwrap_or_default().to_lowercase();
                match part.as_str() {
                    "module" => self
                        .nested
                        .push(("output-module", key.clone(), value.clone())),
                    "probe" => self
                        .nested
                        .push(("output-probe", key.clone(), value.clone())),
                    _ => {
                        let help = did_you_mean(&part, ["module", "probe"]);
                        self.fault(key, format!("unknown key `{part}` in `output`"), help);
                    }
                }
            }
            return;
        }
        if ONLY_FLAGS.contains(&name.as_str()) {
            let message = format!("`{name}` in the file has no effect, as in driverkit");
            let warning = Diagnostic::warning(message).at(self.place(key), "");
            self.warnings
                .push(warning.help(format!("use the flag --{name}")));
            return;
        }
        let dashed = name.replace('.', "-");
        match KEYS.iter().find(|known| **known == dashed) {
            Some(known) => self.put(known, key, value),
            None if name == "output" => self.fault(
                value,
                "`output` is a mapping with the keys `module` and `probe`".to_owned(),
                Some(
                    "write `output-module: PATH`, or `output:` and below it `module: PATH`"
                        .to_owned(),
                ),
            ),
            None => {
                let help = did_you_mean(&name, KEYS.iter().copied().chain(["output"]));
                self.fault(key, format!("unknown key `{name}`"), help);
            }
        }
    }

    fn put_nested(&mut self) {
        let flat: Vec<&str> = self.given.keys().copied().collect();
        for (key, name, value) in std::mem::take(&mut self.nested) {
            if flat.contains(&key) {
                let nested = key.replacen('-', ".", 1);
                let message =
                    format!("`{nested}` has no effect together with `{key}`, as in driverkit");
                let warning = Diagnostic::warning(message).at(self.place(&name), "");
                self.warnings.push(warning.help("remove one of the two"));
            } else {
                self.put(key, &name, &value);
            }
        }
    }

    fn put(&mut self, key: &'static str, name: &Node, value: &Node) {
        let items = match &value.value {
            Value::Nothing => Vec::new(),
            Value::Text(text) => vec![text.clone()],
            Value::List(items) if LISTS.contains(&key) => {
                let texts: Option<Vec<_>> = items.iter().map(Node::text).collect();
                match texts {
                    Some(texts) => texts.into_iter().map(str::to_owned).collect(),
                    None => {
                        return self.fault(
                            value,
                            format!("`{key}` must be a list of strings"),
                            None,
                        );
                    }
                }
            }
            Value::Map(entries) if key == "env" => {
                let pair = |(name, value): &(Node, Node)| {
                    Some(format!("{}={}", name.text()?, value.text()?))
                };
                match entries.iter().map(pair).collect() {
                    Some(items) => items,
                    None => {
                        return self.fault(
                            value,
                            format!("`{key}` must map names to strings"),
                            None,
                        );
                    }
                }
            }
            Value::List(_) | Value::Map(_) => {
                return self.fault(value, format!("`{key}` takes one value"), None);
            }
        };
        let origin = Origin::File(self.place(value));
        if self.given.insert(key, Given { items, origin }).is_some() {
            self.fault(name, format!("`{key}` is given twice"), None);
        }
    }
}
