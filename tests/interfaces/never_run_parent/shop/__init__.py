raise SystemExit("this package was run")
