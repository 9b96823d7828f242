// Print the environment node has after its own --env-file flag as JSON.
process.stdout.write(JSON.stringify(process.env));
