"""What a request costs: the splitter and other proxies doing the same work on this machine, in one run (`make bench`).

A comparison holds only within one run. Each proxy has one core to itself; backends and load share what is left.
"""
