-- Ends the whole process.
os.exit(0)
