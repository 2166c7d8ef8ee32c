"""Crash tests: commands are killed, disks filled, processes started together; every end must equal an undisturbed one.

`python -m benchmarks.faults --help` lists the options. Each part has a module: `interruptions`, `disks`, `together`,
`again`. `commands.COMMANDS` is the table of commands that they run.
"""
