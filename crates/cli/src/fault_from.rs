//! Failures of the floors below as failures of a command.

use lifeboat_recovery::Error;

use crate::fault::Fault;

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Fault::from_error(error.exit(), &error).hint_if(error.hint())
    }
}
