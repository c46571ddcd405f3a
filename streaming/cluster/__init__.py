"""Inference in other processes and on other machines: a pool whose sessions are decoded by replicas."""
