//! Schemas of built-in kinds, made from the types of `k8s-openapi` on first use.

use std::collections::HashMap;
use std::sync::{Mutex, OnceLock, PoisonError};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::JSON;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema as _, Schema as Generated, SchemaGenerator};
use serde_json::{Map, Value};

use super::Schema;
use crate::kinds::Builtin;

/// A schema with its definitions.
#[derive(Debug)]
struct Owned {
    root: Value,
    definitions: Map<String, Value>,
}

impl Owned {
    fn schema(&self) -> Schema<'_> {
        Schema { node: &Value::Null, definitions: Some(&self.definitions) }.at(&self.root)
    }
}

/// Definitions that may hold any value, although their types say "object".
const ANYTHING: [&str; 5] = [
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON",
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrArray",
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrBool",
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrStringArray",
    "io.k8s.apimachinery.pkg.runtime.RawExtension",
];

fn generator() -> SchemaGenerator {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    settings.into_generator()
}

fn make(kind: impl Fn(&mut SchemaGenerator) -> Generated) -> Owned {
    let mut generator = generator();
    let mut root = kind(&mut generator).to_value();
    let mut definitions = generator.take_definitions(false);
    allow_any_json(&mut definitions);
    // Descriptions are for `kubectl explain`, which has its own copy.
    drop_descriptions(&mut root);
    definitions.values_mut().for_each(drop_descriptions);
    for name in ANYTHING {
        if let Some(definition) = definitions.get_mut(name) {
            *definition = Value::Object(Map::new());
        }
    }
    Owned { root, definitions }
}

/// The type `JSON` (defaults and enum values in the schema of a definition) is any value; the generated schema says
/// object.
fn allow_any_json(definitions: &mut Map<String, Value>) {
    if let Some(json) = definitions.get_mut(JSON::schema_name().as_ref()).and_then(Value::as_object_mut) {
        json.remove("type");
    }
}

fn drop_descriptions(schema: &mut Value) {
    if let Some(members) = schema.as_object_mut() {
        if members.get("description").is_some_and(Value::is_string) {
            members.remove("description");
        }
        for (name, member) in members {
            match (name.as_str(), member) {
                ("properties", Value::Object(properties)) => {
                    properties.values_mut().for_each(drop_descriptions);
                }
                ("items" | "additionalProperties", member) => drop_descriptions(member),
                _ => {}
            }
        }
    }
}

/// The schema of a built-in kind.
pub(crate) fn of_builtin(builtin: &'static Builtin) -> Schema<'static> {
    type Cache = Mutex<HashMap<(&'static str, &'static str), &'static Owned>>;
    static CACHE: OnceLock<Cache> = OnceLock::new();
    let cache = CACHE.get_or_init(Mutex::default);
    let mut cache = cache.lock().unwrap_or_else(PoisonError::into_inner);
    // There are as many schemas as built-in kinds, each made once per process and kept.
    cache
        .entry((builtin.group, builtin.plural))
        .or_insert_with(|| Box::leak(Box::new(make(builtin.schema))))
        .schema()
}

/// The schema of `metadata`, which custom kinds have too.
pub(crate) fn metadata_schema() -> Schema<'static> {
    static METADATA: OnceLock<Owned> = OnceLock::new();
    METADATA.get_or_init(|| make(SchemaGenerator::subschema_for::<ObjectMeta>)).schema()
}

/// The name of the component that describes `metadata`.
pub(crate) fn metadata_component() -> String {
    ObjectMeta::schema_name().into_owned()
}

/// The OpenAPI components of some built-in kinds and of `metadata`, with descriptions, and the component of each kind.
pub(crate) fn components(kinds: &[&'static Builtin]) -> (Map<String, Value>, Vec<String>) {
    let mut generator = generator();
    generator.subschema_for::<ObjectMeta>();
    let names = kinds
        .iter()
        .map(|kind| {
            let reference = (kind.schema)(&mut generator).to_value();
            let reference = reference["$ref"].as_str().unwrap_or_default();
            reference.rsplit('/').next().unwrap_or_default().to_owned()
        })
        .collect();
    (generator.take_definitions(false), names)
}
