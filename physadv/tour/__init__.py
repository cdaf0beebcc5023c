"""The guided tour: eight stops on the live demo, each one thing to do, what happens, the number, and why."""
