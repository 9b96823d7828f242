# Print what ruby-dotenv reads from the first argument as JSON.
require "json"
require "dotenv"
print JSON.generate(Dotenv.load(ARGV[0]))
