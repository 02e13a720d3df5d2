//! Tests of the model as its users see it.

mod example;
mod parse_errors;
mod parse_random;
mod schema;
mod support;
