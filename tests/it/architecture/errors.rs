//! An error returns its cause or prints it, but not both.

use syn::visit::Visit;

use super::facts::FACTS;

/// The message of an error, and the fields that are its sources.
#[derive(Default)]
struct ErrorTexts {
    found: Vec<String>,
}

impl ErrorTexts {
    fn look_at(&mut self, name: &str, attributes: &[syn::Attribute], fields: &syn::Fields) {
        let text = attributes.iter().find_map(|attribute| {
            if !attribute.path().is_ident("error") {
                return None;
            }
            let tokens = attribute.meta.require_list().ok()?.tokens.clone();
            let first = tokens.into_iter().next()?;
            syn::parse_str::<syn::LitStr>(&first.to_string()).ok()
        });
        let Some(text) = text.map(|text| text.value()) else {
            return;
        };
        for (index, field) in fields.iter().enumerate() {
            let field_name = field
                .ident
                .as_ref()
                .map_or_else(|| index.to_string(), ToString::to_string);
            let is_marked = field.attrs.iter().any(|attribute| {
                attribute.path().is_ident("source") || attribute.path().is_ident("from")
            });
            let is_source = is_marked || field_name == "source";
            let is_said = [":", "}"]
                .iter()
                .any(|end| text.contains(&format!("{{{field_name}{end}")));
            if is_source && is_said {
                self.found.push(format!("{name}: {text}"));
            }
        }
    }
}

impl<'ast> Visit<'ast> for ErrorTexts {
    fn visit_variant(&mut self, variant: &'ast syn::Variant) {
        self.look_at(&variant.ident.to_string(), &variant.attrs, &variant.fields);
    }

    fn visit_item_struct(&mut self, item: &'ast syn::ItemStruct) {
        self.look_at(&item.ident.to_string(), &item.attrs, &item.fields);
    }
}

/// Returns the errors of a file that print their causes.
pub(super) fn repeated_causes(file: &syn::File) -> Vec<String> {
    let mut texts = ErrorTexts::default();
    texts.visit_file(file);
    texts.found
}

#[test]
fn errors_print_their_cause_or_return_it_but_not_both() {
    let found: Vec<_> = FACTS.iter().flat_map(|facts| &facts.errors).collect();
    assert!(
        found.is_empty(),
        "these errors interpolate their source, so that it would be printed twice: {found:#?}"
    );

    let wrong: syn::File = syn::parse_quote! {
        enum Wrong {
            #[error("no file: {source}")]
            One { source: std::io::Error },
            #[error("no file: {0}")]
            Two(#[from] std::io::Error),
            #[error("no file {path}")]
            Right { path: String, source: std::io::Error },
        }
    };
    let found = repeated_causes(&wrong);
    assert_eq!(found.len(), 2, "{found:?}");
}
