def publish(*a):
    return "x"
