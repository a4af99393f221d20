from kvtune import main

main()
