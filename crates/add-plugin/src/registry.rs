//! The registry: plugins by family and name, read natively from RON.
//!
//! A family is a trait; [`Entry`] is one plugin of it; [`Plugin`] is one plugin as a recipe names it.

use std::{
    any::{TypeId, type_name},
    fmt,
    marker::PhantomData,
    ops::Deref,
};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, DeserializeOwned, DeserializeSeed, EnumAccess, VariantAccess},
};

use crate::{
    Backbone, Codec, Critic, DataSource, FeatureNetwork, Head, Metric, Sampler, Schedule, TextEncoder,
    Weighting,
};

/// What every plugin is: printable, shareable and writable as RON.
pub trait Family: fmt::Debug + Send + Sync + erased_serde::Serialize {}

impl<T: fmt::Debug + Send + Sync + erased_serde::Serialize> Family for T {}

/// A family as the registry sees it: its name, and the list of its linked plugins. Implemented for `dyn Trait`.
pub trait Registered: 'static {
    /// Such as `Weighting`.
    const NAME: &'static str;

    /// Every linked plugin of the family, in no particular order.
    fn entries() -> Box<dyn Iterator<Item = &'static Entry<Self>>>;
}

/// A family on the list of families, so that [`listings`] finds the plugins of families that other crates declare.
pub struct FamilyList {
    list: fn() -> Vec<Listing>,
}

impl FamilyList {
    /// The family `T`.
    pub const fn of<T: ?Sized + Registered>() -> Self {
        Self { list: list::<T> }
    }
}

inventory::collect!(FamilyList);

fn list<T: ?Sized + Registered>() -> Vec<Listing> {
    T::entries().map(|e| Listing { family: T::NAME, name: e.name, source: e.source }).collect()
}

/// One plugin on its family's list.
pub struct Entry<T: ?Sized + 'static> {
    /// The name in a recipe: the struct's name.
    pub name: &'static str,
    /// Where it comes from: a paper's section, a library, a release.
    pub source: &'static str,
    type_id: fn() -> TypeId,
    read: ReadPlugin<T>,
}

/// Reads a plugin's fields.
pub type ReadPlugin<T> = fn(&mut dyn erased_serde::Deserializer<'_>) -> Result<Box<T>, erased_serde::Error>;

impl<T: ?Sized> Entry<T> {
    /// The entry of plugin `P` of a family that another crate declares; the families of this crate have constructors of their own.
    pub const fn new<P: 'static>(name: &'static str, source: &'static str, read: ReadPlugin<T>) -> Self {
        Self { name, source, type_id: TypeId::of::<P>, read }
    }
}

/// A plugin as a row of a table.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Listing {
    /// The plugin's family, such as `Weighting`.
    pub family: &'static str,
    /// Name in a recipe.
    pub name: &'static str,
    /// Where it comes from.
    pub source: &'static str,
}

/// States a family: its list, its name, and the constructor of its entries. One line per family; a function
/// cannot do it, since turning `Box<P>` into `Box<dyn Family>` needs the concrete trait.
macro_rules! families {
    ($($family:ident $constructor:ident),* $(,)?) => {
        $(
            inventory::collect!(Entry<dyn $family>);

            impl Registered for dyn $family {
                const NAME: &'static str = stringify!($family);

                fn entries() -> Box<dyn Iterator<Item = &'static Entry<Self>>> {
                    Box::new(inventory::iter::<Entry<dyn $family>>.into_iter())
                }
            }

            inventory::submit!(FamilyList::of::<dyn $family>());

            impl Entry<dyn $family> {
                /// The entry of plugin `P`.
                pub const fn $constructor<P: $family + DeserializeOwned + 'static>(
                    name: &'static str,
                    source: &'static str,
                ) -> Self {
                    Self {
                        name,
                        source,
                        type_id: TypeId::of::<P>,
                        read: |d| Ok(Box::new(erased_serde::deserialize::<P>(d)?)),
                    }
                }
            }

            /// A plugin that a program made, under the name with which a recipe would say it.
            impl<P: $family + 'static> From<P> for Plugin<dyn $family> {
                fn from(plugin: P) -> Self {
                    Self::made::<P>(Box::new(plugin))
                }
            }
        )*
    };
}

families! {
    Backbone backbone,
    Codec codec,
    Critic critic,
    DataSource data_source,
    FeatureNetwork feature_network,
    Head head,
    Metric metric,
    Sampler sampler,
    Schedule schedule,
    TextEncoder text_encoder,
    Weighting weighting,
}

/// Every linked plugin, sorted by family and name.
pub fn listings() -> Vec<Listing> {
    let mut all: Vec<Listing> = inventory::iter::<FamilyList>.into_iter().flat_map(|f| (f.list)()).collect();
    all.sort();
    all
}

/// Plugins that two crates registered under one name; a binary refuses to start while there are any.
pub fn duplicates() -> Vec<Listing> {
    let all = listings();
    let same = |pair: &[Listing]| (pair[0].family, pair[0].name) == (pair[1].family, pair[1].name);
    all.windows(2).filter(|pair| same(pair)).map(|pair| pair[0].clone()).collect()
}

/// One plugin as a recipe names it: `Exponential(power: 1.0)`.
pub struct Plugin<T: ?Sized + 'static> {
    name: &'static str,
    plugin: Box<T>,
}

impl<T: ?Sized + Registered> Plugin<T> {
    /// A plugin `P` that a program made, under the name with which a recipe would say it. The families of this crate have
    /// `From` for it; a family that another crate declares builds its own on this.
    pub fn made<P: 'static>(plugin: Box<T>) -> Self {
        Self { name: name_of::<T, P>(), plugin }
    }
}

impl<T: ?Sized> Plugin<T> {
    /// Its name in the recipe.
    pub fn name(&self) -> &'static str {
        self.name
    }
}

impl<T: ?Sized> Deref for Plugin<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.plugin
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for Plugin<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.plugin.fmt(f)
    }
}

impl<T: ?Sized + erased_serde::Serialize> Serialize for Plugin<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_newtype_variant("Plugin", 0, self.name, &Erased(&*self.plugin))
    }
}

struct Erased<'a, T: ?Sized>(&'a T);

impl<T: ?Sized + erased_serde::Serialize> Serialize for Erased<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        erased_serde::serialize(self.0, serializer)
    }
}

impl<'de, T: ?Sized + Registered> Deserialize<'de> for Plugin<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_enum("Plugin", &[], ByName(PhantomData))
    }
}

/// A plugin of one of two families, as a recipe names it.
pub enum Either<A: ?Sized + 'static, B: ?Sized + 'static> {
    /// A plugin of the first family.
    First(Plugin<A>),
    /// A plugin of the second family.
    Second(Plugin<B>),
}

impl<A: ?Sized + fmt::Debug, B: ?Sized + fmt::Debug> fmt::Debug for Either<A, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::First(plugin) => plugin.fmt(f),
            Self::Second(plugin) => plugin.fmt(f),
        }
    }
}

impl<A: ?Sized + erased_serde::Serialize, B: ?Sized + erased_serde::Serialize> Serialize for Either<A, B> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::First(plugin) => plugin.serialize(serializer),
            Self::Second(plugin) => plugin.serialize(serializer),
        }
    }
}

impl<'de, A: ?Sized + Registered, B: ?Sized + Registered> Deserialize<'de> for Either<A, B> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_enum("Plugin", &[], ByEitherName(PhantomData, PhantomData))
    }
}

struct ByEitherName<A: ?Sized, B: ?Sized>(PhantomData<A>, PhantomData<B>);

impl<'de, A: ?Sized + Registered, B: ?Sized + Registered> de::Visitor<'de> for ByEitherName<A, B> {
    type Value = Either<A, B>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a {} or a {} such as `{}(…)`", A::NAME, B::NAME, known::<A>().first().unwrap_or(&"Name"))
    }

    fn visit_enum<E: EnumAccess<'de>>(self, data: E) -> Result<Either<A, B>, E::Error> {
        let (Identifier(name), body) = data.variant()?;
        if let Some(entry) = B::entries().find(|e| e.name == name) {
            let plugin = body.newtype_variant_seed(Read(entry))?;
            return Ok(Either::Second(Plugin { name: entry.name, plugin }));
        }
        let missing =
            || format!("{}; nor a {} (linked: {})", unknown::<A>(&name), B::NAME, known::<B>().join(", "));
        let entry = A::entries().find(|e| e.name == name).ok_or_else(|| de::Error::custom(missing()))?;
        let plugin = body.newtype_variant_seed(Read(entry))?;
        Ok(Either::First(Plugin { name: entry.name, plugin }))
    }
}

struct ByName<T: ?Sized>(PhantomData<T>);

impl<'de, T: ?Sized + Registered> de::Visitor<'de> for ByName<T> {
    type Value = Plugin<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a {} such as `{}(…)`", T::NAME, known::<T>().first().unwrap_or(&"Name"))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, data: A) -> Result<Plugin<T>, A::Error> {
        let (Identifier(name), body) = data.variant()?;
        let entry =
            T::entries().find(|e| e.name == name).ok_or_else(|| de::Error::custom(unknown::<T>(&name)))?;
        let plugin = body.newtype_variant_seed(Read(entry))?;
        Ok(Plugin { name: entry.name, plugin })
    }
}

/// The name of `P` on the list of its family, or of the type itself where it is on none: writing such a recipe works, reading
/// it back does not.
fn name_of<T: ?Sized + Registered, P: 'static>() -> &'static str {
    let listed = T::entries().find(|entry| (entry.type_id)() == TypeId::of::<P>());
    listed.map_or_else(|| type_name::<P>().rsplit("::").next().unwrap_or_default(), |entry| entry.name)
}

fn known<T: ?Sized + Registered>() -> Vec<&'static str> {
    let mut known: Vec<_> = T::entries().map(|e| e.name).collect();
    known.sort_unstable();
    known
}

fn unknown<T: ?Sized + Registered>(name: &str) -> String {
    let known = known::<T>();
    let nearest = known.iter().max_by(|a, b| {
        let [a, b] = [a, b].map(|k| strsim::jaro_winkler(name, k));
        a.total_cmp(&b)
    });
    let hint = match nearest {
        Some(near) if strsim::jaro_winkler(name, near) > 0.7 => format!("; did you mean `{near}`?"),
        _ => String::new(),
    };
    let family = T::NAME;
    if known.is_empty() {
        return format!("no {family} named `{name}`: this binary links no {family} at all");
    }
    format!("no {family} named `{name}`{hint} (linked: {})", known.join(", "))
}

struct Identifier(String);

impl<'de> Deserialize<'de> for Identifier {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Name;
        impl de::Visitor<'_> for Name {
            type Value = Identifier;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a plugin's name")
            }

            fn visit_str<E>(self, name: &str) -> Result<Identifier, E> {
                Ok(Identifier(name.to_owned()))
            }
        }
        deserializer.deserialize_identifier(Name)
    }
}

struct Read<T: ?Sized + 'static>(&'static Entry<T>);

impl<'de, T: ?Sized> DeserializeSeed<'de> for Read<T> {
    type Value = Box<T>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Box<T>, D::Error> {
        (self.0.read)(&mut <dyn erased_serde::Deserializer<'_>>::erase(deserializer))
            .map_err(de::Error::custom)
    }
}
