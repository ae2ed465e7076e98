//! Every item that a map from a paper to the code names (`crates/add-loss/*.md`) must be declared in some source.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};

use crate::workspace::read;

/// The names that no source declares.
pub(crate) fn missing(root: &Path, sources: &[PathBuf]) -> Result<Vec<String>, String> {
    let folder = root.join("crates/add-loss");
    let declared = declared(root, sources)?;
    let mut missing = Vec::new();
    for entry in fs::read_dir(&folder).map_err(|e| format!("{}: {e}", folder.display()))?.flatten() {
        let path = entry.path();
        if path.extension().is_some_and(|extension| extension == "md") {
            let text = read(&path)?;
            let name = path.strip_prefix(root).unwrap_or(&path).display();
            let absent = names(&text).filter(|name| !declared.has(name));
            missing.extend(absent.map(|absent| format!("{name} names `{absent}`, which no source declares")));
        }
    }
    Ok(missing)
}

/// What stands in backticks and looks like an item: `hinge::by_hand`, `clip_factor`. Symbols of formulas with one letter
/// before the underscore (`x_0`, `c_text`) are none.
fn names(text: &str) -> impl Iterator<Item = &str> {
    let plain = |name: &&str| name.chars().all(|c| c.is_alphanumeric() || c == '_' || c == ':');
    let symbol = |name: &str| name.chars().nth(1) == Some('_') && !name.contains(':');
    let quoted = text.split('`').skip(1).step_by(2).filter(plain);
    quoted.filter(move |name| name.contains('_') && !symbol(name))
}

/// Each declared item as its path: folders, file, modules, type, name.
struct Declared(BTreeSet<Vec<String>>);

impl Declared {
    /// Whether some item has this name, and the earlier parts of `path` on its way in their order.
    fn has(&self, path: &str) -> bool {
        let parts: Vec<&str> = path.split("::").collect();
        self.0.iter().any(|item| {
            let mut way = item.iter();
            item.last().is_some_and(|name| Some(name.as_str()) == parts.last().copied())
                && parts.iter().all(|part| way.any(|step| step == part))
        })
    }
}

fn declared(root: &Path, sources: &[PathBuf]) -> Result<Declared, String> {
    let mut all = BTreeSet::new();
    for path in sources {
        let text = read(path)?;
        let file = syn::parse_file(&text).map_err(|e| format!("{}: {e}", path.display()))?;
        let place = path.strip_prefix(root).unwrap_or(path).with_extension("");
        let place = place.iter().map(|part| part.to_string_lossy().into_owned()).collect();
        let mut items = Items { place, found: BTreeSet::new() };
        items.visit_file(&file);
        all.append(&mut items.found);
    }
    Ok(Declared(all))
}

/// The items of one file.
struct Items {
    /// Where the visit is.
    place: Vec<String>,
    found: BTreeSet<Vec<String>>,
}

impl Items {
    fn add(&mut self, name: &impl ToString) {
        self.found.insert([self.place.as_slice(), &[name.to_string()]].concat());
    }

    /// Visits what lies inside of `name`.
    fn inside(&mut self, name: &impl ToString, visit: impl FnOnce(&mut Self)) {
        self.add(name);
        self.place.push(name.to_string());
        visit(self);
        self.place.pop();
    }

    /// The functions that a macro such as `proptest!` is given, which are tokens and not yet items.
    fn tokens(&mut self, tokens: TokenStream) {
        let mut is_function = false;
        for token in tokens {
            match token {
                TokenTree::Ident(name) if is_function => self.add(&name),
                TokenTree::Group(group) => self.tokens(group.stream()),
                TokenTree::Ident(word) => {
                    is_function = word == "fn";
                    continue;
                }
                _ => {}
            }
            is_function = false;
        }
    }
}

impl<'a> Visit<'a> for Items {
    fn visit_item_fn(&mut self, item: &'a syn::ItemFn) {
        self.inside(&item.sig.ident, |items| visit::visit_item_fn(items, item));
    }

    fn visit_impl_item_fn(&mut self, item: &'a syn::ImplItemFn) {
        self.inside(&item.sig.ident, |items| visit::visit_impl_item_fn(items, item));
    }

    fn visit_trait_item_fn(&mut self, item: &'a syn::TraitItemFn) {
        self.add(&item.sig.ident);
    }

    fn visit_item_mod(&mut self, item: &'a syn::ItemMod) {
        self.inside(&item.ident, |items| visit::visit_item_mod(items, item));
    }

    fn visit_item_struct(&mut self, item: &'a syn::ItemStruct) {
        self.inside(&item.ident, |items| visit::visit_item_struct(items, item));
    }

    fn visit_item_enum(&mut self, item: &'a syn::ItemEnum) {
        self.inside(&item.ident, |items| visit::visit_item_enum(items, item));
    }

    fn visit_item_trait(&mut self, item: &'a syn::ItemTrait) {
        self.inside(&item.ident, |items| visit::visit_item_trait(items, item));
    }

    fn visit_item_const(&mut self, item: &'a syn::ItemConst) {
        self.add(&item.ident);
    }

    fn visit_variant(&mut self, variant: &'a syn::Variant) {
        self.inside(&variant.ident, |items| visit::visit_variant(items, variant));
    }

    fn visit_field(&mut self, field: &'a syn::Field) {
        if let Some(name) = &field.ident {
            self.add(name);
        }
    }

    fn visit_item_impl(&mut self, item: &'a syn::ItemImpl) {
        let of = match &*item.self_ty {
            syn::Type::Path(path) => path.path.segments.last().map(|segment| segment.ident.to_string()),
            _ => None,
        };
        self.inside(&of.unwrap_or_default(), |items| visit::visit_item_impl(items, item));
    }

    fn visit_macro(&mut self, item: &'a syn::Macro) {
        self.tokens(item.tokens.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn declared(source: &str) -> Declared {
        let mut items = Items { place: vec!["hinge".to_owned()], found: BTreeSet::new() };
        items.visit_file(&syn::parse_file(source).unwrap());
        Declared(items.found)
    }

    #[test]
    fn a_name_is_found_where_it_is_declared_and_under_its_own_module_alone() {
        let found =
            declared("struct Ema; impl Ema { fn constant() {} } mod tests { #[test] fn by_hand() {} }");
        for name in ["Ema::constant", "hinge::by_hand", "by_hand", "Ema"] {
            assert!(found.has(name), "{name}");
        }
        for name in ["by_han", "losses::by_hand", "by_hand::hinge", "constant::Ema"] {
            assert!(!found.has(name), "{name}");
        }
    }

    #[test]
    fn comments_strings_and_calls_declare_nothing() {
        let found =
            declared("// fn by_hand() {}\n/// `by_hand`\nfn other() { by_hand(\"fn by_hand() {}\"); }");
        assert!(found.has("other") && !found.has("by_hand"));
    }

    #[test]
    fn the_tests_that_a_macro_is_given_are_found() {
        let found = declared("proptest! { #[test] fn a_law(x in 0..3_usize) { let y = x; } }");
        assert!(found.has("hinge::a_law") && !found.has("x") && !found.has("y"));
    }

    #[test]
    fn formulas_are_no_names() {
        let text =
            "`x_0 + y`, `c_text`, `clip_factor`, `hinge::by_hand`, `losses/heads_b4`, `laws::…`, `a.b_c`";
        assert_eq!(names(text).collect::<Vec<_>>(), ["clip_factor", "hinge::by_hand"]);
    }
}
