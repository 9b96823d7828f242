// Print what the npm package in argv[2] reads from argv[3] as JSON.
const into = {};
const result = require(process.argv[2]).config({
  path: process.argv[3], processEnv: into, quiet: true,
});
if (result.error) throw result.error;
process.stdout.write(JSON.stringify(into));
