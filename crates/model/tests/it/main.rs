//! Tests of the model as its users see it.

mod checks;
mod example;
mod formats;
mod parse_errors;
mod parse_random;
mod retention;
mod schema;
mod support;
mod tables;
